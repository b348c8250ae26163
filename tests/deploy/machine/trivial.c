/* A plugin that admits everybody to everything: what the broker costs by itself. */
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <stddef.h>

int mosquitto_plugin_version(int count, const int *versions) {
    for (int i = 0; i < count; i++)
        if (versions[i] == 5) return 5;
    return -1;
}

static int admit(int event, void *data, void *user_data) {
    (void)event, (void)data, (void)user_data;
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **user_data, struct mosquitto_opt *options, int count) {
    (void)user_data, (void)options, (void)count;
    int basic = mosquitto_callback_register(id, MOSQ_EVT_BASIC_AUTH, admit, NULL, NULL);
    int acl = mosquitto_callback_register(id, MOSQ_EVT_ACL_CHECK, admit, NULL, NULL);
    return basic ? basic : acl;
}

int mosquitto_plugin_cleanup(void *user_data, struct mosquitto_opt *options, int count) {
    (void)user_data, (void)options, (void)count;
    return MOSQ_ERR_SUCCESS;
}
