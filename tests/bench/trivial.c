/* The least that a plugin can do: every callback says yes, or, with `plugin_opt_admit PREFIX`, a login says no unless the
 * user's name begins so. What a broker does under it is the broker's own doing.
 *
 * With `plugin_opt_thread true` it is also told of each turn of the broker's loop, and has a thread that sleeps: the least that
 * a plugin can do which does anything beside the broker. The C library locks more in a process that has a second thread. */

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

static mosquitto_plugin_id_t *self;
static const char *admit = "";
static sem_t end;
static pthread_t thread;
static bool has_thread;

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

static int on_tick(int event, void *data, void *userdata)
{
    (void)event;
    (void)data;
    (void)userdata;
    return MOSQ_ERR_SUCCESS;
}

static void *sleep_on(void *nothing)
{
    while (sem_wait(&end) != 0)
        ;
    return nothing;
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
        else if (strcmp(options[i].key, "thread") == 0)
            has_thread = true;
    int result = mosquitto_callback_register(id, MOSQ_EVT_BASIC_AUTH, on_login, NULL, NULL);
    if (result == MOSQ_ERR_SUCCESS)
        result = mosquitto_callback_register(id, MOSQ_EVT_ACL_CHECK, on_access, NULL, NULL);
    if (result == MOSQ_ERR_SUCCESS && has_thread) {
        if (sem_init(&end, 0, 0) != 0 || pthread_create(&thread, NULL, sleep_on, NULL) != 0)
            return MOSQ_ERR_UNKNOWN;
        result = mosquitto_callback_register(id, MOSQ_EVT_TICK, on_tick, NULL, NULL);
    }
    return result;
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int count)
{
    (void)userdata;
    (void)options;
    (void)count;
    mosquitto_callback_unregister(self, MOSQ_EVT_BASIC_AUTH, on_login, NULL);
    mosquitto_callback_unregister(self, MOSQ_EVT_ACL_CHECK, on_access, NULL);
    if (has_thread) {
        mosquitto_callback_unregister(self, MOSQ_EVT_TICK, on_tick, NULL);
        /* The broker unmaps this library now. */
        sem_post(&end);
        pthread_join(thread, NULL);
    }
    return MOSQ_ERR_SUCCESS;
}
