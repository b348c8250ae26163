/* The least that a plugin can do: every callback says yes, or, with `plugin_opt_admit PREFIX`, a login says no unless the
 * user's name begins so. What a broker does under it is the broker's own doing. */

#include <stddef.h>
#include <string.h>

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

static mosquitto_plugin_id_t *self;
static const char *admit = "";

static int on_login(int event, void *data, void *userdata)
{
    const struct mosquitto_evt_basic_auth *login = data;

    (void)event;
    (void)userdata;
    if (*admit == '\0')
        return MOSQ_ERR_SUCCESS;
    if (login->username != NULL && strncmp(login->username, admit, strlen(admit)) == 0)
        return MOSQ_ERR_SUCCESS;
    return MOSQ_ERR_AUTH;
}

static int on_access(int event, void *data, void *userdata)
{
    (void)event;
    (void)data;
    (void)userdata;
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_version(int count, const int *versions)
{
    for (int i = 0; i < count; i++)
        if (versions[i] == MOSQ_PLUGIN_VERSION)
            return MOSQ_PLUGIN_VERSION;
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **userdata, struct mosquitto_opt *options, int count)
{
    (void)userdata;
    self = id;
    for (int i = 0; i < count; i++)
        if (strcmp(options[i].key, "admit") == 0)
            admit = options[i].value;
    int result = mosquitto_callback_register(id, MOSQ_EVT_BASIC_AUTH, on_login, NULL, NULL);
    if (result == MOSQ_ERR_SUCCESS)
        result = mosquitto_callback_register(id, MOSQ_EVT_ACL_CHECK, on_access, NULL, NULL);
    return result;
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int count)
{
    (void)userdata;
    (void)options;
    (void)count;
    mosquitto_callback_unregister(self, MOSQ_EVT_BASIC_AUTH, on_login, NULL);
    mosquitto_callback_unregister(self, MOSQ_EVT_ACL_CHECK, on_access, NULL);
    return MOSQ_ERR_SUCCESS;
}
