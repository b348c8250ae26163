/* A stand-in for the broker that loads one of Mosquitto's own access control plugins and asks it, so that what we say of
 * its rules can be held against it. It is started with the plugin's path, and does what the lines of its standard input
 * say; each is answered with a line. A byte string is x and its hex digits, "-" is NULL.
 *
 *   load KEY VALUE          mosquitto_plugin_init with this one option; what it returned
 *   unload                  mosquitto_plugin_cleanup
 *   check ID USER A TOPIC   ACL_CHECK of the access A, what it returned; for each A of several digits one number */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mosquitto.h>
#if !__has_include(<mosquitto/broker_plugin.h>)
#	include <mosquitto_broker.h>
#	include <mosquitto_plugin.h>
#endif

#define BROKER __attribute__((visibility("default")))

enum { EVENTS = 64 };

struct mosquitto { char *id, *username; };
struct mosquitto_plugin_id_t { int unused; };

static MOSQ_FUNC_generic_callback callbacks[EVENTS];
static void *callback_data[EVENTS];

static void die(const char *why)
{
	fflush(stdout);
	fprintf(stderr, "oracle: %s\n", why);
	exit(2);
}

BROKER int mosquitto_callback_register(mosquitto_plugin_id_t *plugin, int event, MOSQ_FUNC_generic_callback function, const void *data, void *userdata)
{
	(void)plugin, (void)data;
	if (event < 0 || event >= EVENTS) return MOSQ_ERR_NOT_SUPPORTED;
	callbacks[event] = function;
	callback_data[event] = userdata;
	return MOSQ_ERR_SUCCESS;
}

BROKER int mosquitto_callback_unregister(mosquitto_plugin_id_t *plugin, int event, MOSQ_FUNC_generic_callback function, const void *data)
{
	(void)plugin, (void)function, (void)data;
	if (event >= 0 && event < EVENTS) callbacks[event] = NULL;
	return MOSQ_ERR_SUCCESS;
}

/* Only what keeps a plugin from taking a file is worth telling. */
BROKER void mosquitto_log_printf(int level, const char *format, ...)
{
	va_list args;
	if (level != MOSQ_LOG_ERR) return;
	va_start(args, format);
	fputs("plugin: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

BROKER const char *mosquitto_client_id(const struct mosquitto *client) { return client->id; }
BROKER const char *mosquitto_client_username(const struct mosquitto *client) { return client->username; }
BROKER const char *mosquitto_client_address(const struct mosquitto *client) { (void)client; return "192.0.2.1"; }
BROKER void *mosquitto_malloc(size_t size) { return malloc(size); }
BROKER void *mosquitto_calloc(size_t count, size_t size) { return calloc(count, size); }
BROKER void mosquitto_free(void *block) { free(block); }
BROKER char *mosquitto_strdup(const char *text) { return text ? strdup(text) : NULL; }

/* A plugin that is only asked for its decisions takes no notice of what these do. */
#define NOTHING(name, ...) BROKER int name(__VA_ARGS__) { return MOSQ_ERR_SUCCESS; }
#pragma GCC diagnostic ignored "-Wunused-parameter"
NOTHING(mosquitto_plugin_set_info, mosquitto_plugin_id_t *plugin, const char *name, const char *version)
NOTHING(mosquitto_kick_client_by_username, const char *username, bool with_will)
NOTHING(mosquitto_broker_publish, const char *id, const char *topic, int length, void *payload, int qos, bool retain, mosquitto_property *properties)
NOTHING(mosquitto_apply_on_all_clients, int (*function)(const struct mosquitto *, void *), void *data)
NOTHING(mosquitto_control_command_reply, void *command, const char *error)
NOTHING(mosquitto_control_generic_callback, void *data, const char *topic, void *userdata, int (*function)(void *, void *))
BROKER struct mosquitto *mosquitto_client(const char *id) { return NULL; }

static char *bytes(char *word)
{
	if (!word) die("a word is missing");
	if (!strcmp(word, "-")) return NULL;
	if (*word++ != 'x') die("not a string");
	size_t length = strlen(word) / 2;
	char *out = malloc(length + 1);
	for (size_t i = 0; i < length; i++) {
		int value = 0;
		for (int n = 0; n < 2; n++) {
			char digit = word[2 * i + n];
			value = value * 16 + (digit <= '9' ? digit - '0' : digit - 'a' + 10);
		}
		out[i] = (char)value;
	}
	out[length] = 0;
	return out;
}

static char *next(void) { return strtok(NULL, " \n"); }

static void check(void)
{
	struct mosquitto client = {.id = bytes(next()), .username = bytes(next())};
	char *accesses = next();
	char *topic = bytes(next());
	if (!callbacks[MOSQ_EVT_ACL_CHECK]) die("the plugin does not decide");
	for (const char *access = accesses; access && *access; access++) {
		struct mosquitto_evt_acl_check data = {.client = &client, .topic = topic, .access = *access - '0'};
		int rc = callbacks[MOSQ_EVT_ACL_CHECK](MOSQ_EVT_ACL_CHECK, &data, callback_data[MOSQ_EVT_ACL_CHECK]);
		printf(access == accesses ? "%d" : " %d", rc);
	}
	putchar('\n');
	free(client.id), free(client.username), free(topic);
}

int main(int argc, char **argv)
{
	if (argc != 2) die("the plugin's path is missing");
	void *library = dlopen(argv[1], RTLD_NOW);
	if (!library) die(dlerror());
	int (*init)(mosquitto_plugin_id_t *, void **, struct mosquitto_opt *, int) = dlsym(library, "mosquitto_plugin_init");
	int (*cleanup)(void *, struct mosquitto_opt *, int) = dlsym(library, "mosquitto_plugin_cleanup");
	if (!init || !cleanup) die("this is no plugin");

	struct mosquitto_plugin_id_t plugin = {0};
	void *userdata = NULL;
	char *line = NULL;
	size_t size = 0;
	while (getline(&line, &size, stdin) > 0) {
		char *command = strtok(line, " \n");
		if (!command) continue;
		if (!strcmp(command, "load")) {
			struct mosquitto_opt option = {.key = bytes(next()), .value = bytes(next())};
			userdata = NULL;
			printf("%d\n", init(&plugin, &userdata, &option, 1));
			free(option.key), free(option.value);
		} else if (!strcmp(command, "unload")) {
			printf("%d\n", cleanup(userdata, NULL, 0));
			/* Whoever asks waits for the answers now. */
			fflush(stdout);
		} else if (!strcmp(command, "check")) {
			check();
		} else {
			die("no such command");
		}
	}
	free(line);
	return 0;
}
