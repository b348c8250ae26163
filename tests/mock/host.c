/* A stand-in for the broker: it loads the plugin and calls it as the lines on its standard input say.
 *
 * A line is a command and its words; a byte string is x and its hex digits, "-" is NULL. What the plugin does
 * meanwhile is written as lines, and the last line of each answer is "= VALUE" ("= none": no such callback).
 * Built with -DMOCK_2_1 it offers what 2.1 adds, and behaves like it; otherwise it is a 2.0.
 *
 *   load P SCOPE PATH           dlopen as plugin P; plugins of one SCOPE share a callback list
 *   version P V...              ask which interface version it takes
 *   init P [KEY VALUE]...       mosquitto_plugin_init with these options
 *   client C [FIELD=VALUE]...   (re)define client C in place: id user pass addr will sub version online kept websocket
 *                               plugin
 *   auth P C USER PASS [LEN]    BASIC_AUTH and no more; LEN is the length that 2.1.3 will tell
 *   arrive C                    CONNECT to the listener of its plugin, and all that follows; "none" where somebody waits under that id
 *   enter C                     the same for one that a certificate names, about whom BASIC_AUTH is not asked
 *   drop C                      its connection ends: DISCONNECT and its will, or where it waits its will alone
 *   acl P C ACCESS TOPIC [PAYLOAD QOS RETAIN]
 *   write C ACCESS TOPIC        ACL_CHECK of the plugin of its listener
 *   connect P C, offline P C, disconnect P C REASON, reload P, tick P
 *   turn P...                   a turn of the loop: it waits 1 ms for the network, and ticks ("ticked P")
 *   answers P...                turns until nobody waits for an answer; how many it took
 *   sighup P...                 RELOAD, then BASIC_AUTH for every session ("reauth C RC"), as every broker does; with
 *                               "allow_anonymous false", which drops those without a user name unasked
 *   idle MS                     waits for the network so long; the errno that ends the wait, 0 for none
 *   urgent [take|leave]         who handles SIGURG: 0 nobody, 1 this host, 2 somebody else; or take it, or leave it
 *   nap US                      the main thread does nothing, and takes no signal for a turn
 *   later MS                    the plugin's clock is so much ahead
 *   processors N, jitter US     how many there seem to be; how long threads of the plugin dawdle when they read the clock
 *   hang 0|1                    the disk hangs: what threads of the plugin write to files waits until it no longer does
 *   dear US                     in BASIC_AUTH time passes by so much whenever the plugin reads the clock
 *   raw P EVENT NUMBER null|zero   the callback registered for EVENT, told NUMBER, with no data or with zeros
 *   logtopic P C                as "log_dest topic": each log line asks P whether C may read it ("-" ends it)
 *   batch COUNT                 the answers to so many lines come together
 *   hush [TEXT]                 of the log, only lines with this text are told
 *   spawn COUNT COMMAND         another thread runs COMMAND so often; join reports "tally VALUE TIMES"
 *   cleanup P, unload P
 *
 * A client is written as its number; "@N" is a copy on the stack that has only an id and a user name, as the broker
 * makes one for check_retain_source; "+N" is somebody new with the id and the address of N; "-" is NULL. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <mosquitto.h>
#if !__has_include(<mosquitto/broker_plugin.h>)
#	include <mosquitto_broker.h>
#	include <mosquitto_plugin.h>
#endif

#ifdef MOCK_2_1
#	define LAST_EVENT 30
#	define EVENT_CONNECT 11
#	define EVENT_OFFLINE 28
#	define DLOPEN_SCOPE RTLD_LOCAL
#	define CALLBACK_TWICE true
#else
#	define LAST_EVENT 10
#	define DLOPEN_SCOPE RTLD_GLOBAL
#	define CALLBACK_TWICE false
#endif

enum { CLIENTS = 64, NEWCOMER = CLIENTS, PLUGINS = 8, WORDS = 64, NONE = INT_MIN, AUTH_DELAYED = -5 };

struct mosquitto {
	char *id, *username, *password, *address, *will, *subscription;
	int version;
	bool online, websocket;
	bool kept; /* its session outlives the connection */
	bool waits;   /* for what BASIC_AUTH did not answer at once */
	bool arrived; /* with "arrive" or "enter": the host does all that the broker does */
	bool certified;
	mosquitto_plugin_id_t *plugin;
};

struct callback {
	int event;
	MOSQ_FUNC_generic_callback function;
	void *userdata;
};

struct mosquitto_plugin_id_t {
	int scope;
	void *library, *userdata;
	int (*version)(int, const int *);
	int (*init)(mosquitto_plugin_id_t *, void **, struct mosquitto_opt *, int);
	int (*cleanup)(void *, struct mosquitto_opt *, int);
	struct mosquitto_opt options[WORDS];
	int option_count;
	struct callback callbacks[32];
	int callback_count;
};

static struct mosquitto clients[CLIENTS + 1];
static struct mosquitto_plugin_id_t plugins[PLUGINS];
static pthread_t main_thread;
static _Thread_local int inside; /* the event whose callback this thread is in; -1: init or cleanup */

/* ---- speaking ---- */

static void emit(const char *format, ...)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	va_list args;

	va_start(args, format);
	pthread_mutex_lock(&lock);
	vprintf(format, args);
	putchar('\n');
	pthread_mutex_unlock(&lock);
	va_end(args);
}

static void die(const char *why, const char *what)
{
	fflush(stdout);
	fprintf(stderr, "mock host: %s: %s\n", why, what ? what : "(nothing)");
	exit(2);
}

/* Strings of the command at hand, freed when it ends; each block ends where its string does, so that valgrind sees a
 * read past it. */
struct block {
	struct block *next;
	char data[];
};
static _Thread_local struct block *borrowed;

static void *borrow(size_t size)
{
	struct block *block = malloc(sizeof *block + size);
	block->next = borrowed;
	borrowed = block;
	return block->data;
}

static void release(void)
{
	for (struct block *block; (block = borrowed); free(block)) borrowed = block->next;
}

static const char *hex(const char *text)
{
	if (!text) return "-";
	char *out = borrow(2 * strlen(text) + 2), *end = out;
	for (end += sprintf(end, "x"); *text; text++) end += sprintf(end, "%02x", (unsigned char)*text);
	return out;
}

static char *bytes(const char *word)
{
	if (!strcmp(word, "-")) return NULL;
	if (*word++ != 'x') die("not a string", word - 1);
	size_t length = strlen(word) / 2;
	char *out = borrow(length + 1);
	for (size_t i = 0; i < length; i++) {
		char digits[] = {word[2 * i], word[2 * i + 1], 0};
		out[i] = (char)strtol(digits, NULL, 16);
	}
	out[length] = 0;
	return out;
}

static int number(const char *word)
{
	char *end;
	if (!word || !*word) die("a number is missing", NULL);
	long value = strtol(word, &end, 0);
	if (*end) die("not a number", word);
	return (int)value;
}

/* ---- what the plugin takes from the system ---- */

static atomic_llong ahead_ns;
static atomic_uint jitter_us;
static int dear_us;
static int processors;

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int rc = (int)syscall(SYS_clock_gettime, clock, time);
	if (rc || (clock != CLOCK_MONOTONIC && clock != CLOCK_THREAD_CPUTIME_ID)) return rc;
	bool is_main = pthread_equal(pthread_self(), main_thread);
	if (is_main && inside == MOSQ_EVT_BASIC_AUTH) atomic_fetch_add(&ahead_ns, dear_us * 1000LL);
	long long ns = time->tv_nsec + atomic_load(&ahead_ns);
	time->tv_sec += ns / 1000000000;
	time->tv_nsec = ns % 1000000000;
	unsigned most = atomic_load(&jitter_us);
	if (most && !is_main) {
		static _Thread_local unsigned dice;
		if (!dice) {
			dice = (unsigned)gettid();
			prctl(PR_SET_TIMERSLACK, 1000L, 0L, 0L, 0L);
		}
		dice = dice * 1664525 + 1013904223;
		if (dice >> 31) usleep((dice >> 8) % most);
	}
	return rc;
}

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	if (!processors) return (int)syscall(SYS_sched_getaffinity, pid, size, set) < 0 ? -1 : 0;
	CPU_ZERO_S(size, set);
	for (int p = 0; p < processors; p++) CPU_SET_S(p, size, set);
	return 0;
}

/* While the disk hangs, files are written by nobody but the main thread, which must not need them. */
static atomic_bool hangs;

static void wait_for_disk(int file)
{
	struct stat is;
	if (pthread_equal(pthread_self(), main_thread) || fstat(file, &is) || !S_ISREG(is.st_mode)) return;
	while (atomic_load(&hangs)) usleep(1000);
}

ssize_t write(int file, const void *bytes, size_t count)
{
	wait_for_disk(file);
	return syscall(SYS_write, file, bytes, count);
}

int fsync(int file)
{
	wait_for_disk(file);
	return (int)syscall(SYS_fsync, file);
}

/* ---- calling ---- */

static int call_as(mosquitto_plugin_id_t *plugin, int event, int told, void *data)
{
	for (int i = 0; i < plugin->callback_count; i++) {
		struct callback *callback = &plugin->callbacks[i];
		if (callback->event != event) continue;
		int outer = inside;
		inside = event;
		int rc = callback->function(told, data, callback->userdata);
		inside = outer;
		return rc;
	}
	return NONE;
}

static int call(mosquitto_plugin_id_t *plugin, int event, void *data)
{
	return call_as(plugin, event, event, data);
}

static int basic_auth(mosquitto_plugin_id_t *plugin, struct mosquitto *client, char *username, char *password, uint16_t length)
{
	struct mosquitto_evt_basic_auth data = {.client = client, .username = username, .password = password};
	memcpy(&data.future2[0], &length, sizeof length);
	return call(plugin, MOSQ_EVT_BASIC_AUTH, &data);
}

static int acl_check(mosquitto_plugin_id_t *plugin, struct mosquitto *client, int access, const char *topic)
{
	struct mosquitto_evt_acl_check data = {.client = client, .topic = topic, .access = access};
	return call(plugin, MOSQ_EVT_ACL_CHECK, &data);
}

/* 2.0 with per_listener_settings leaves what it does not set as it was on the stack. */
static int disconnect(mosquitto_plugin_id_t *plugin, struct mosquitto *client, int reason)
{
	struct mosquitto_evt_disconnect data;
	memset(&data, 0xa5, sizeof data);
	data.client = client;
	data.reason = reason;
	return call(plugin, MOSQ_EVT_DISCONNECT, &data);
}

static int tick(mosquitto_plugin_id_t *plugin)
{
	struct mosquitto_evt_tick data = {0};
#ifdef MOCK_2_1
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	data.now_s = now.tv_sec;
	data.now_ns = now.tv_nsec;
#endif
	return call(plugin, MOSQ_EVT_TICK, &data);
}

static int reload(mosquitto_plugin_id_t *plugin)
{
	struct mosquitto_evt_reload data = {0};
	return call(plugin, MOSQ_EVT_RELOAD, &data);
}

/* ---- what the broker offers ---- */

#define BROKER __attribute__((visibility("default")))

/* The broker's functions belong to its main thread. */
static void on_main_thread(const char *function)
{
	if (!pthread_equal(pthread_self(), main_thread)) emit("violation %s off the main thread", function);
}

static void only_in(int event, const char *function)
{
	on_main_thread(function);
	if (inside != event) emit("violation %s in event %d", function, inside);
}

static bool registered(int scope, int event, MOSQ_FUNC_generic_callback function)
{
	for (int p = 0; p < PLUGINS; p++)
		for (int i = 0; i < plugins[p].callback_count; i++)
			if (plugins[p].scope == scope && plugins[p].callbacks[i].event == event && plugins[p].callbacks[i].function == function) return true;
	return false;
}

static int register_callback(mosquitto_plugin_id_t *plugin, int event, MOSQ_FUNC_generic_callback function, void *userdata)
{
	if (!function) return MOSQ_ERR_INVAL;
	if (event < 1 || event > LAST_EVENT) return MOSQ_ERR_NOT_SUPPORTED;
	if (!CALLBACK_TWICE && registered(plugin->scope, event, function)) return MOSQ_ERR_ALREADY_EXISTS;
	plugin->callbacks[plugin->callback_count++] = (struct callback){event, function, userdata};
	return MOSQ_ERR_SUCCESS;
}

/* The broker walks these lists while it calls back, so they may change in init and cleanup only. */
BROKER int mosquitto_callback_register(mosquitto_plugin_id_t *plugin, int event, MOSQ_FUNC_generic_callback function, const void *data, void *userdata)
{
	(void)data;
	only_in(-1, "mosquitto_callback_register");
	int rc = register_callback(plugin, event, function, userdata);
	emit("register %d %d", event, rc);
	return rc;
}

BROKER int mosquitto_callback_unregister(mosquitto_plugin_id_t *plugin, int event, MOSQ_FUNC_generic_callback function, const void *data)
{
	(void)data;
	only_in(-1, "mosquitto_callback_unregister");
	if (!plugin || !function) return MOSQ_ERR_INVAL;
	for (int i = 0; i < plugin->callback_count; i++) {
		if (plugin->callbacks[i].event != event || plugin->callbacks[i].function != function) continue;
		plugin->callbacks[i] = plugin->callbacks[--plugin->callback_count];
		return MOSQ_ERR_SUCCESS;
	}
	return MOSQ_ERR_NOT_FOUND;
}

static mosquitto_plugin_id_t *log_plugin;
static struct mosquitto *log_reader;

/* A line that the broker logs is a message to whoever subscribed to the log. */
static void to_log_topic(const char *topic)
{
	static int depth;
	if (!log_plugin || depth == 10) return;
	if (++depth == 10) emit("violation the log feeds itself");
	emit("logread %d", acl_check(log_plugin, log_reader, MOSQ_ACL_READ, topic));
	depth--;
}

static char *wanted;

BROKER void mosquitto_log_printf(int level, const char *format, ...)
{
	char line[1000];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	on_main_thread("mosquitto_log_printf");
	if (!wanted || strstr(line, wanted)) emit("log %d %s", level, hex(line));
	to_log_topic(level == MOSQ_LOG_ERR ? "$SYS/broker/log/E" : level == MOSQ_LOG_WARNING ? "$SYS/broker/log/W" : "$SYS/broker/log/N");
}

BROKER const char *mosquitto_client_id(const struct mosquitto *client) { return client ? client->id : NULL; }
BROKER const char *mosquitto_client_username(const struct mosquitto *client) { return client ? client->username : NULL; }
BROKER const char *mosquitto_client_address(const struct mosquitto *client) { return client ? client->address : NULL; }
BROKER bool mosquitto_client_clean_session(const struct mosquitto *client) { return client && !client->kept; }
BROKER void *mosquitto_client_certificate(const struct mosquitto *client) { (void)client; return NULL; }
BROKER int mosquitto_client_keepalive(const struct mosquitto *client) { return client ? 60 : -1; }
BROKER int mosquitto_client_protocol(const struct mosquitto *client) { return !client ? -1 : client->websocket ? mp_websockets : mp_mqtt; }
BROKER int mosquitto_client_protocol_version(const struct mosquitto *client) { return client ? client->version : -1; }
BROKER int mosquitto_client_sub_count(const struct mosquitto *client) { return client ? client->subscription != NULL : -1; }

static char *copy(const char *text) { return text ? strdup(text) : NULL; }

BROKER int mosquitto_set_username(struct mosquitto *client, const char *username)
{
	only_in(MOSQ_EVT_BASIC_AUTH, "mosquitto_set_username");
	free(client->username);
	client->username = copy(username);
	return MOSQ_ERR_SUCCESS;
}

static void forget(struct mosquitto *client)
{
	char *owned[] = {client->id, client->username, client->password, client->address, client->will, client->subscription};
	for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
	*client = (struct mosquitto){0};
}

/* Only 2.1 tells the end of a connection from that of a session. */
static void gone(mosquitto_plugin_id_t *plugin, struct mosquitto *client)
{
#ifdef MOCK_2_1
	struct mosquitto_evt_disconnect data = {.client = client};
	if (client->kept) {
		call(plugin, EVENT_OFFLINE, &data);
		return;
	}
#endif
	disconnect(plugin, client, -1);
}

static void close_connection(mosquitto_plugin_id_t *plugin, struct mosquitto *client, bool with_will)
{
	client->online = false;
	to_log_topic("$SYS/broker/log/N");
	gone(plugin, client);
	if (with_will && client->will) emit("will %d", acl_check(plugin, client, MOSQ_ACL_WRITE, client->will));
}

static struct mosquitto *waiting_under(const char *id)
{
	for (int c = 0; c <= CLIENTS; c++)
		if (clients[c].waits && id && !strcmp(clients[c].id, id)) return &clients[c];
	return NULL;
}

#ifdef MOCK_2_1
/* 2.1's event about a client, without a reason. */
static int connected(mosquitto_plugin_id_t *plugin, struct mosquitto *client)
{
	struct { void *future; struct mosquitto *client; void *future2[4]; } data = {.client = client};
	return call(plugin, EVENT_CONNECT, &data);
}
#else
static int connected(mosquitto_plugin_id_t *plugin, struct mosquitto *client) { (void)plugin, (void)client; return NONE; }
#endif

/* A login is through: whoever is connected under the id has to go, and its will is due. */
static void let_in(struct mosquitto *client)
{
	for (int c = 0; client->arrived && c < CLIENTS; c++) {
		struct mosquitto *old = &clients[c];
		if (old == client || !old->id || !old->arrived || !old->online || strcmp(old->id, client->id)) continue;
		emit("takeover %d", c);
		close_connection(old->plugin, old, true);
		forget(old);
	}
	client->online = true;
	connected(client->plugin, client);
}

/* As in the broker, all this happens before the kick returns: the plugin is called while it calls. */
static int kick(struct mosquitto *client, bool with_will)
{
	for (int p = 0; p < PLUGINS; p++) {
		if (!plugins[p].callback_count || (client->arrived && client->plugin != &plugins[p])) continue;
		/* First the subscriptions that the session keeps, whether or not it is connected. */
		if (client->subscription) {
			int rc = acl_check(&plugins[p], client, MOSQ_ACL_SUBSCRIBE, client->subscription);
			emit("resubscribe %d", rc);
			if (rc != MOSQ_ERR_SUCCESS) {
				free(client->subscription);
				client->subscription = NULL;
			}
		}
		if (client->online) close_connection(&plugins[p], client, with_will);
	}
	if (client->arrived) forget(client);
	return MOSQ_ERR_SUCCESS;
}

BROKER int mosquitto_kick_client_by_clientid(const char *id, bool with_will)
{
	only_in(MOSQ_EVT_TICK, "mosquitto_kick_client_by_clientid");
	emit("kick %s %d", hex(id), with_will);
	if (!id) return MOSQ_ERR_INVAL;
	/* Those who wait are in another list. */
	for (int c = 0; c < CLIENTS; c++)
		if (clients[c].id && !clients[c].waits && !strcmp(clients[c].id, id)) return kick(&clients[c], with_will);
	return MOSQ_ERR_NOT_FOUND;
}

BROKER int mosquitto_kick_client_by_username(const char *username, bool with_will)
{
	only_in(MOSQ_EVT_TICK, "mosquitto_kick_client_by_username");
	emit("kickuser %s %d", hex(username), with_will);
	for (int c = 0; c < CLIENTS; c++)
		if (clients[c].username ? username && !strcmp(clients[c].username, username) : clients[c].id && !username) kick(&clients[c], with_will);
	return MOSQ_ERR_SUCCESS;
}

BROKER int mosquitto_broker_publish_copy(const char *id, const char *topic, int length, const void *payload, int qos, bool retain, mosquitto_property *properties)
{
	(void)id, (void)length, (void)payload, (void)properties;
	only_in(MOSQ_EVT_TICK, "mosquitto_broker_publish");
	emit("publish %s %d %d", hex(topic), qos, retain);
	return MOSQ_ERR_SUCCESS;
}

BROKER int mosquitto_broker_publish(const char *id, const char *topic, int length, void *payload, int qos, bool retain, mosquitto_property *properties)
{
	int rc = mosquitto_broker_publish_copy(id, topic, length, payload, qos, retain, properties);
	free(payload);
	return rc;
}

BROKER void *mosquitto_malloc(size_t size) { return malloc(size); }
BROKER void *mosquitto_calloc(size_t count, size_t size) { return calloc(count, size); }
BROKER void *mosquitto_realloc(void *block, size_t size) { return realloc(block, size); }
BROKER void mosquitto_free(void *block) { free(block); }
BROKER char *mosquitto_strdup(const char *text) { return copy(text); }

/* Every broker has these; the plugin has no use for them. */
#define UNUSED(name, ...) BROKER int name(__VA_ARGS__) { emit("violation " #name); return MOSQ_ERR_NOT_SUPPORTED; }
#pragma GCC diagnostic ignored "-Wunused-parameter"
UNUSED(mosquitto_property_add_binary, mosquitto_property **list, int id, const void *value, uint16_t length)
UNUSED(mosquitto_property_add_byte, mosquitto_property **list, int id, uint8_t value)
UNUSED(mosquitto_property_add_int16, mosquitto_property **list, int id, uint16_t value)
UNUSED(mosquitto_property_add_int32, mosquitto_property **list, int id, uint32_t value)
UNUSED(mosquitto_property_add_string, mosquitto_property **list, int id, const char *value)
UNUSED(mosquitto_property_add_string_pair, mosquitto_property **list, int id, const char *name, const char *value)
UNUSED(mosquitto_property_add_varint, mosquitto_property **list, int id, uint32_t value)
UNUSED(mosquitto_pub_topic_check, const char *topic)
UNUSED(mosquitto_sub_topic_check, const char *filter)
UNUSED(mosquitto_topic_matches_sub, const char *filter, const char *topic, bool *result)
UNUSED(mosquitto_validate_utf8, const char *text, int length)
BROKER void mosquitto_property_free_all(mosquitto_property **list) {}

#ifdef MOCK_2_1
/* Declared here too, since the headers may be those of 2.0. */
int mosquitto_plugin_set_info(mosquitto_plugin_id_t *, const char *, const char *);
struct mosquitto *mosquitto_client(const char *);
int mosquitto_client_port(const struct mosquitto *);
int mosquitto_set_clientid(struct mosquitto *, const char *);
int mosquitto_apply_on_all_clients(int (*)(const struct mosquitto *, void *), void *);
void mosquitto_complete_basic_auth(const char *, int);

BROKER int mosquitto_plugin_set_info(mosquitto_plugin_id_t *plugin, const char *name, const char *version)
{
	only_in(-1, "mosquitto_plugin_set_info");
	emit("info %s %s", hex(name), hex(version));
	return MOSQ_ERR_SUCCESS;
}

BROKER struct mosquitto *mosquitto_client(const char *id)
{
	on_main_thread("mosquitto_client");
	for (int c = 0; c < CLIENTS; c++)
		if (clients[c].id && id && !strcmp(clients[c].id, id)) return &clients[c];
	return NULL;
}

BROKER int mosquitto_client_port(const struct mosquitto *client) { return client && client->address ? 1883 : 0; }

BROKER int mosquitto_set_clientid(struct mosquitto *client, const char *id)
{
	only_in(MOSQ_EVT_BASIC_AUTH, "mosquitto_set_clientid");
	free(client->id);
	client->id = copy(id);
	return MOSQ_ERR_SUCCESS;
}

BROKER int mosquitto_apply_on_all_clients(int (*function)(const struct mosquitto *, void *), void *context)
{
	on_main_thread("mosquitto_apply_on_all_clients");
	int rc = MOSQ_ERR_SUCCESS;
	for (int c = 0; c < CLIENTS && rc == MOSQ_ERR_SUCCESS; c++)
		if (clients[c].id && !clients[c].waits) rc = function(&clients[c], context);
	return rc;
}

/* 2.1.2 knows those who wait by their ids alone. */
BROKER void mosquitto_complete_basic_auth(const char *id, int result)
{
	only_in(MOSQ_EVT_TICK, "mosquitto_complete_basic_auth");
	struct mosquitto *client = waiting_under(id);
	emit("complete %s %d %d", hex(id), result, client ? (int)(client - clients) : -1);
	if (!client) return;
	client->waits = false;
	if (result == MOSQ_ERR_SUCCESS) let_in(client);
	else if (client->arrived) forget(client);
}
#endif

/* ---- the commands ---- */

static mosquitto_plugin_id_t *plugin_of(const char *word)
{
	int p = number(word);
	if (p < 0 || p >= PLUGINS) die("no such plugin", word);
	return &plugins[p];
}

static struct mosquitto *client_of(const char *word, struct mosquitto *on_stack)
{
	if (word && !strcmp(word, "-")) return NULL;
	bool copied = word && *word == '@', is_new = word && *word == '+';
	int c = number(word + (copied || is_new));
	if (c < 0 || c >= CLIENTS) die("no such client", word);
	if (is_new) {
		forget(&clients[NEWCOMER]);
		clients[NEWCOMER] = (struct mosquitto){.id = copy(clients[c].id), .address = copy(clients[c].address), .version = clients[c].version};
		return &clients[NEWCOMER];
	}
	if (!copied) return &clients[c];
	*on_stack = (struct mosquitto){.id = clients[c].id, .username = clients[c].username};
	return on_stack;
}

static int do_load(char **word)
{
	static const int versions[] = {5, 4, 3, 2};
	mosquitto_plugin_id_t *plugin = plugin_of(word[1]);

	*plugin = (mosquitto_plugin_id_t){.scope = number(word[2]), .library = dlopen(bytes(word[3]), RTLD_NOW | DLOPEN_SCOPE)};
	if (!plugin->library) die("dlopen", dlerror());
	*(void **)&plugin->version = dlsym(plugin->library, "mosquitto_plugin_version");
	*(void **)&plugin->init = dlsym(plugin->library, "mosquitto_plugin_init");
	*(void **)&plugin->cleanup = dlsym(plugin->library, "mosquitto_plugin_cleanup");
	if (!plugin->version || !plugin->init || !plugin->cleanup) die("a plugin function is missing", dlerror());
	return plugin->version(4, versions);
}

static int do_version(char **word)
{
	int versions[WORDS], count = 0;
	while (word[2 + count]) versions[count] = number(word[2 + count]), count++;
	return plugin_of(word[1])->version(count, versions);
}

static int do_init(char **word)
{
	mosquitto_plugin_id_t *plugin = plugin_of(word[1]);
	for (word += 2; word[0] && word[1]; word += 2)
		plugin->options[plugin->option_count++] = (struct mosquitto_opt){copy(bytes(word[0])), copy(bytes(word[1]))};
	inside = -1;
	int rc = plugin->init(plugin, &plugin->userdata, plugin->option_count ? plugin->options : NULL, plugin->option_count);
	inside = 0;
	return rc;
}

static int do_cleanup(char **word)
{
	mosquitto_plugin_id_t *plugin = plugin_of(word[1]);
	inside = -1;
	int rc = plugin->cleanup(plugin->userdata, plugin->options, plugin->option_count);
	inside = 0;
	plugin->callback_count = 0;
	return rc;
}

static int do_unload(char **word)
{
	mosquitto_plugin_id_t *plugin = plugin_of(word[1]);
#ifndef MOCK_2_1
	if (plugin->library && dlclose(plugin->library)) die("dlclose", dlerror());
#endif
	for (int i = 0; i < plugin->option_count; i++) {
		free(plugin->options[i].key);
		free(plugin->options[i].value);
	}
	*plugin = (mosquitto_plugin_id_t){0};
	return 0;
}

static int do_client(char **word)
{
	struct mosquitto *client = client_of(word[1], NULL);
	forget(client);
	client->version = 4;
	client->online = true;
	for (word += 2; *word; word++) {
		char *value = strchr(*word, '=');
		if (!value) die("not a field", *word);
		*value++ = 0;
		if (!strcmp(*word, "id")) client->id = copy(bytes(value));
		else if (!strcmp(*word, "user")) client->username = copy(bytes(value));
		else if (!strcmp(*word, "pass")) client->password = copy(bytes(value));
		else if (!strcmp(*word, "addr")) client->address = copy(bytes(value));
		else if (!strcmp(*word, "will")) client->will = copy(bytes(value));
		else if (!strcmp(*word, "sub")) client->subscription = copy(bytes(value));
		else if (!strcmp(*word, "version")) client->version = number(value);
		else if (!strcmp(*word, "online")) client->online = number(value);
		else if (!strcmp(*word, "kept")) client->kept = number(value);
		else if (!strcmp(*word, "websocket")) client->websocket = number(value);
		else if (!strcmp(*word, "plugin")) client->plugin = plugin_of(value);
		else die("no such field", *word);
	}
	return 0;
}

static int do_auth(char **word)
{
	struct mosquitto on_stack, *client = client_of(word[2], &on_stack);
	mosquitto_plugin_id_t *plugin = plugin_of(word[1]);
	int rc = basic_auth(plugin, client, bytes(word[3]), bytes(word[4]), word[5] ? (uint16_t)number(word[5]) : 0);
	if (rc == AUTH_DELAYED && client && client != &on_stack) {
		client->waits = true;
		client->plugin = plugin;
	}
	return rc;
}

static struct mosquitto *arriving(char **word)
{
	struct mosquitto *client = client_of(word[1], NULL);
	if (!client->id || !client->plugin) die("a client without an id or a plugin", word[1]);
	client->arrived = true;
	client->online = false;
	if (!waiting_under(client->id)) return client;
	forget(client);
	return NULL;
}

static int do_arrive(char **word)
{
	struct mosquitto *client = arriving(word);
	if (!client) return NONE;
	int rc = basic_auth(client->plugin, client, client->username, client->password, 0);
	if (rc == AUTH_DELAYED) client->waits = true;
	else if (rc == MOSQ_ERR_SUCCESS) let_in(client);
	else forget(client);
	return rc;
}

static int do_enter(char **word)
{
	struct mosquitto *client = arriving(word);
	if (!client) return NONE;
	client->certified = true;
	let_in(client);
	return 0;
}

static int do_write(char **word)
{
	struct mosquitto *client = client_of(word[1], NULL);
	return client->plugin ? acl_check(client->plugin, client, number(word[2]), bytes(word[3])) : MOSQ_ERR_ACL_DENIED;
}

static int do_drop(char **word)
{
	struct mosquitto *client = client_of(word[1], NULL);
	if (!client->arrived) return NONE;
	if (client->online) {
		close_connection(client->plugin, client, true);
	} else if (client->will) {
		/* The broker has taken these from a client that was never let in. */
		free(client->username);
		free(client->address);
		client->username = client->address = NULL;
		emit("will %d", acl_check(client->plugin, client, MOSQ_ACL_WRITE, client->will));
	}
	forget(client);
	return 0;
}

static int do_acl(char **word)
{
	struct mosquitto on_stack;
	struct mosquitto_evt_acl_check data = {.client = client_of(word[2], &on_stack), .access = number(word[3]), .topic = bytes(word[4])};
	if (word[5]) {
		data.payload = bytes(word[5]);
		data.payloadlen = data.payload ? (uint32_t)strlen(word[5]) / 2 : 0;
		data.qos = (uint8_t)number(word[6]);
		data.retain = number(word[7]);
	}
	return call(plugin_of(word[1]), MOSQ_EVT_ACL_CHECK, &data);
}

static int do_connect(char **word) { return connected(plugin_of(word[1]), client_of(word[2], NULL)); }

static int do_offline(char **word)
{
#ifdef MOCK_2_1
	struct mosquitto_evt_disconnect data = {.client = client_of(word[2], NULL)};
	return call(plugin_of(word[1]), EVENT_OFFLINE, &data);
#else
	(void)word;
	return NONE;
#endif
}

static int do_disconnect(char **word)
{
	return disconnect(plugin_of(word[1]), client_of(word[2], NULL), number(word[3]));
}

static int do_reload(char **word) { return reload(plugin_of(word[1])); }
static int do_tick(char **word) { return tick(plugin_of(word[1])); }

/* Waits for the network, where nothing comes; tells what ended the wait. */
static int idle(int milliseconds)
{
	static int network = -1;
	struct epoll_event event;
	if (network < 0) network = epoll_create1(EPOLL_CLOEXEC);
	return epoll_wait(network, &event, 1, milliseconds) < 0 ? errno : 0;
}

static int do_idle(char **word) { return idle(number(word[1])); }

static int do_turn(char **word)
{
	idle(1);
	while (*++word) {
		tick(plugin_of(*word));
		emit("ticked %s", *word);
	}
	return 0;
}

static int do_answers(char **word)
{
	enum { MOST = 5000 };
	for (int turns = 0; turns < MOST; turns++) {
		int c = 0;
		while (c <= CLIENTS && !clients[c].waits) c++;
		if (c > CLIENTS) return turns;
		do_turn(word);
	}
	return NONE;
}

static int do_nap(char **word)
{
	struct timespec time = {.tv_nsec = number(word[1]) * 1000L};
	nanosleep(&time, NULL);
	return 0;
}

static void taken(int signal) { (void)signal; }

static int do_urgent(char **word)
{
	struct sigaction action;
	if (word[1]) signal(SIGURG, strcmp(word[1], "take") ? SIG_DFL : taken);
	sigaction(SIGURG, NULL, &action);
	return action.sa_handler == SIG_DFL ? 0 : action.sa_handler == taken ? 1 : 2;
}

static int do_hush(char **word)
{
	free(wanted);
	wanted = word[1] ? copy(bytes(word[1])) : NULL;
	return 0;
}

static int do_later(char **word) { atomic_fetch_add(&ahead_ns, number(word[1]) * 1000000LL); return 0; }
static int do_jitter(char **word) { atomic_store(&jitter_us, (unsigned)number(word[1])); return 0; }
static int do_dear(char **word) { return dear_us = number(word[1]); }
static int do_processors(char **word) { return processors = number(word[1]); }

static int do_sighup(char **word)
{
	mosquitto_plugin_id_t *plugin = plugin_of(word[1]);
	int rc = reload(plugin);
	for (int p = 2; word[p]; p++) reload(plugin_of(word[p]));
	for (int c = 0; c < CLIENTS; c++) {
		struct mosquitto *client = &clients[c];
		/* Those who wait are in another list, and callers of the HTTP listener in none. */
		if (!client->id || client->waits || client->certified || (!client->address && !strcmp(client->id, "http-api"))) continue;
		mosquitto_plugin_id_t *asked = client->arrived ? client->plugin : plugin;
		if (client->username) {
			int answer = basic_auth(asked, client, client->username, client->password, 0);
			emit("reauth %d %d", c, answer);
			if (answer == MOSQ_ERR_SUCCESS) continue;
		}
		close_connection(asked, client, false);
		if (client->arrived) forget(client);
	}
	return rc;
}

static int do_raw(char **word)
{
	char zeros[256] = {0};
	return call_as(plugin_of(word[1]), number(word[2]), number(word[3]), strcmp(word[4], "null") ? zeros : NULL);
}

static int do_logtopic(char **word)
{
	log_reader = client_of(word[2], NULL);
	log_plugin = log_reader ? plugin_of(word[1]) : NULL;
	return 0;
}

static int do_hang(char **word)
{
	atomic_store(&hangs, number(word[1]) != 0);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(char **);
	int words; /* at least, the command itself included */
} commands[] = {
	{"load", do_load, 4}, {"version", do_version, 2}, {"init", do_init, 2}, {"cleanup", do_cleanup, 2}, {"unload", do_unload, 2},
	{"client", do_client, 2}, {"auth", do_auth, 5}, {"acl", do_acl, 5}, {"connect", do_connect, 3}, {"offline", do_offline, 3},
	{"disconnect", do_disconnect, 4}, {"reload", do_reload, 2}, {"tick", do_tick, 2}, {"sighup", do_sighup, 2}, {"raw", do_raw, 5},
	{"logtopic", do_logtopic, 3}, {"arrive", do_arrive, 2}, {"enter", do_enter, 2}, {"write", do_write, 4}, {"nap", do_nap, 2}, {"drop", do_drop, 2}, {"turn", do_turn, 2},
	{"answers", do_answers, 2}, {"idle", do_idle, 2}, {"urgent", do_urgent, 1}, {"later", do_later, 2}, {"jitter", do_jitter, 2},
	{"processors", do_processors, 2}, {"hush", do_hush, 1}, {"dear", do_dear, 2}, {"hang", do_hang, 2},
};

static int command(char *line)
{
	char *word[WORDS + 1] = {0}, *rest = NULL;
	int count = 0;

	for (char *next = strtok_r(line, " \n", &rest); next && count < WORDS; next = strtok_r(NULL, " \n", &rest)) word[count++] = next;
	for (size_t i = 0; count && i < sizeof commands / sizeof *commands; i++) {
		if (strcmp(commands[i].name, word[0]) || count < commands[i].words) continue;
		int value = commands[i].run(word);
		release();
		return value;
	}
	die("not a command", word[0]);
	return NONE;
}

static struct {
	pthread_t thread;
	char *line;
	int times;
	struct { int value, times; } tally[8];
} spawned;

static void *run_spawned(void *unused)
{
	(void)unused;
	for (int n = 0; n < spawned.times; n++) {
		char *line = strdup(spawned.line);
		int value = command(line), i = 0;
		free(line);
		while (i < 7 && spawned.tally[i].times && spawned.tally[i].value != value) i++;
		spawned.tally[i].value = value;
		spawned.tally[i].times++;
	}
	return NULL;
}

static int spawn(int times, const char *line)
{
	memset(&spawned, 0, sizeof spawned);
	spawned.times = times;
	spawned.line = strdup(line);
	return pthread_create(&spawned.thread, NULL, run_spawned, NULL);
}

static int join(void)
{
	if (!spawned.line) return NONE;
	int rc = pthread_join(spawned.thread, NULL);
	for (int i = 0; i < 8; i++)
		if (spawned.tally[i].times) emit("tally %d %d", spawned.tally[i].value, spawned.tally[i].times);
	free(spawned.line);
	spawned.line = NULL;
	return rc;
}

/* A call that hangs for so many seconds ends the process. */
int main(int argc, char **argv)
{
	unsigned patience = argc > 1 ? (unsigned)number(argv[1]) : 0;
	char *line = NULL;
	size_t room = 0;
	int times, rest, held = 0;

	main_thread = pthread_self();
	prctl(PR_SET_TIMERSLACK, 1000L, 0L, 0L, 0L);
	while (getline(&line, &room, stdin) > 0) {
		if (sscanf(line, "batch %d", &times) == 1) {
			held = times;
			continue;
		}
		alarm(patience);
		int value = sscanf(line, "spawn %d %n", &times, &rest) == 1 ? spawn(times, line + rest) : !strcmp(line, "join\n") ? join() : command(line);
		alarm(0);
		if (value == NONE) emit("= none");
		else emit("= %d", value);
		if (--held <= 0) fflush(stdout);
	}
	free(line);
	free(wanted);
	for (int c = 0; c <= CLIENTS; c++) forget(&clients[c]);
	return 0;
}
