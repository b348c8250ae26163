/* What the package leaves in place of the plugin when it is removed, so that a broker whose configuration still loads the
 * plugin starts, and admits nobody. It reads nothing and decides nothing: every client and every message is refused. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

#define EXPORT __attribute__((visibility("default")))

static int refuse_login(int event, void *data, void *unused)
{
    const struct mosquitto_evt_basic_auth *login = data;
    const char *id = mosquitto_client_id(login->client);

    (void)event;
    (void)unused;
    /* Without an address this is no connection, but a session at rest that SIGHUP checks again (2.0 frees it twice if it is
     * refused; it may do nothing, see below), or the HTTP interface of 2.1, which has an id of its own. */
    if (!mosquitto_client_address(login->client) && (!id || strcmp(id, "http-api") != 0)) {
        return MOSQ_ERR_SUCCESS;
    }
    return MOSQ_ERR_AUTH;
}

static int refuse_access(int event, void *data, void *unused)
{
    (void)event;
    (void)data;
    (void)unused;
    return MOSQ_ERR_ACL_DENIED;
}

EXPORT int mosquitto_plugin_version(int count, const int *versions)
{
    for (int i = 0; i < count; i++) {
        if (versions[i] == MOSQ_PLUGIN_VERSION) {
            return MOSQ_PLUGIN_VERSION;
        }
    }
    return -1;
}

EXPORT int mosquitto_plugin_init(mosquitto_plugin_id_t *self, void **data, struct mosquitto_opt *options, int count)
{
    int status = mosquitto_callback_register(self, MOSQ_EVT_BASIC_AUTH, refuse_login, NULL, NULL);

    (void)data;
    (void)options;
    (void)count;
    if (status == MOSQ_ERR_SUCCESS) {
        status = mosquitto_callback_register(self, MOSQ_EVT_ACL_CHECK, refuse_access, NULL, NULL);
    }
    mosquitto_log_printf(MOSQ_LOG_ERR, "mqtt-acl: the package mqtt-acl was removed: everything is refused; install it "
                                       "again, or take its `plugin` line out of the configuration");
    return status;
}

EXPORT int mosquitto_plugin_cleanup(void *data, struct mosquitto_opt *options, int count)
{
    (void)data;
    (void)options;
    (void)count;
    return MOSQ_ERR_SUCCESS;
}
