/*-------------------------------------------------------------------------
 *
 * properties.c
 *		Properties of librdkafka that a user may set, and secrets in files.
 *
 * Floor 1.  The one hard thing is what is not here: refused are all names
 * that the first table lacks.  The second one only explains the best known
 * of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "guc.h"
#include "properties.h"

#define SERVER	CDC_PROPERTY_SERVER
#define MAPPING	CDC_PROPERTY_USER_MAPPING
#define TUNING	(CDC_PROPERTY_SERVER | CDC_PROPERTY_TUNING)

/* names longer than this have no near relatives worth looking for */
#define LONGEST_NAME	63
/* more than any bundle of certificates */
#define LARGEST_SECRET	(1024 * 1024)

static const CdcProperty properties[] = {
	/* connection */
	{"bootstrap.servers", SERVER, CDC_PROPERTY_STRING, 0, 0, NULL, false, false,
	"brokers to ask first, host:port separated by commas"},
	{"security.protocol", SERVER, CDC_PROPERTY_ENUM, 0, 0, "plaintext, ssl, sasl_plaintext, sasl_ssl", false, false,
	"how to talk to the brokers"},
	{"sasl.mechanism", SERVER | MAPPING, CDC_PROPERTY_ENUM, 0, 0, "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", false, false,
	"how to log in; needed with the sasl_ protocols"},
	{"sasl.mechanisms", SERVER | MAPPING, CDC_PROPERTY_ENUM, 0, 0, "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", false, false,
	"the same as sasl.mechanism"},
	{"sasl.username", SERVER | MAPPING, CDC_PROPERTY_STRING, 0, 0, NULL, false, false,
	"user name for the login"},
	{"sasl.password", MAPPING, CDC_PROPERTY_STRING, 0, 0, NULL, true, true,
	"password for the login"},
	{"ssl.ca.pem", SERVER | MAPPING, CDC_PROPERTY_STRING, 0, 0, NULL, false, true,
	"certificates of the authorities that may have signed the brokers' ones"},
	{"ssl.certificate.pem", SERVER | MAPPING, CDC_PROPERTY_STRING, 0, 0, NULL, false, true,
	"certificate of the client"},
	{"ssl.key.pem", MAPPING, CDC_PROPERTY_STRING, 0, 0, NULL, true, true,
	"private key of the client's certificate"},
	{"ssl.key.password", MAPPING, CDC_PROPERTY_STRING, 0, 0, NULL, true, true,
	"pass phrase of the private key"},
	{"ssl.endpoint.identification.algorithm", SERVER, CDC_PROPERTY_ENUM, 0, 0, "https", false, false,
	"the broker's host name is always checked against its certificate"},
	{"ssl.cipher.suites", SERVER, CDC_PROPERTY_STRING, 0, 0, NULL, false, false,
	"ciphers to offer, as OpenSSL names them"},
	{"ssl.curves.list", SERVER, CDC_PROPERTY_STRING, 0, 0, NULL, false, false,
	"elliptic curves to offer, as OpenSSL names them"},
	{"ssl.sigalgs.list", SERVER, CDC_PROPERTY_STRING, 0, 0, NULL, false, false,
	"signature algorithms to offer, as OpenSSL names them"},
	{"broker.address.family", SERVER, CDC_PROPERTY_ENUM, 0, 0, "any, v4, v6", false, false,
	"addresses to use"},
	{"client.dns.lookup", SERVER, CDC_PROPERTY_ENUM, 0, 0, "use_all_dns_ips, resolve_canonical_bootstrap_servers_only", false, false,
	"how names are resolved (librdkafka 2.2 or later)"},
	{"connections.max.idle.ms", SERVER, CDC_PROPERTY_INT, 0, 2147483647, NULL, false, false,
	"close idle connections after this time, 0 never"},
	/* tuning */
	{"client.id", TUNING, CDC_PROPERTY_LABEL, 0, 0, NULL, false, false,
	"name by which the brokers' logs and quotas know the client"},
	{"client.rack", TUNING, CDC_PROPERTY_LABEL, 0, 0, NULL, false, false,
	"rack of the client, to fetch from the nearest replica"},
	{"fetch.min.bytes", TUNING, CDC_PROPERTY_INT, 1, 100000000, NULL, false, false,
	"the broker waits until it has this much"},
	{"fetch.wait.max.ms", TUNING, CDC_PROPERTY_INT, 0, 60000, NULL, false, false,
	"but at most so long"},
	{"fetch.max.bytes", TUNING, CDC_PROPERTY_INT, 1024, 100000000, NULL, false, false,
	"most bytes of one answer"},
	{"max.partition.fetch.bytes", TUNING, CDC_PROPERTY_INT, 1024, 100000000, NULL, false, false,
	"most bytes of one partition in one answer"},
	{"fetch.error.backoff.ms", TUNING, CDC_PROPERTY_INT, 0, 300000, NULL, false, false,
	"wait after a failed fetch"},
	{"fetch.queue.backoff.ms", TUNING, CDC_PROPERTY_INT, 0, 300000, NULL, false, false,
	"wait while the queue is full (librdkafka 2.2 or later)"},
	{"queued.min.messages", TUNING, CDC_PROPERTY_INT, 1, 10000000, NULL, false, false,
	"records that fill the queue of a partition"},
	{"queued.max.messages.kbytes", TUNING, CDC_PROPERTY_INT, 1, 2097151, NULL, false, false,
	"size of the queue, never above an eighth of cdc_sink.memory_limit"},
	{"socket.timeout.ms", TUNING, CDC_PROPERTY_INT, 2000, 300000, NULL, false, false,
	"time for an answer"},
	{"socket.connection.setup.timeout.ms", TUNING, CDC_PROPERTY_INT, 1000, 300000, NULL, false, false,
	"time to connect and log in"},
	{"socket.keepalive.enable", TUNING, CDC_PROPERTY_BOOL, 0, 0, NULL, false, false,
	"TCP keep-alive"},
	{"reconnect.backoff.ms", TUNING, CDC_PROPERTY_INT, 100, 3600000, NULL, false, false,
	"first wait before connecting again"},
	{"reconnect.backoff.max.ms", TUNING, CDC_PROPERTY_INT, 100, 3600000, NULL, false, false,
	"longest wait before connecting again"},
	{"retry.backoff.ms", TUNING, CDC_PROPERTY_INT, 1, 300000, NULL, false, false,
	"first wait before a question is asked again"},
	{"retry.backoff.max.ms", TUNING, CDC_PROPERTY_INT, 1, 300000, NULL, false, false,
	"longest wait before a question is asked again (librdkafka 2.3 or later)"},
	{"topic.metadata.refresh.interval.ms", TUNING, CDC_PROPERTY_INT, 5000, 3600000, NULL, false, false,
	"how often topics are looked at again"},
	{"isolation.level", TUNING, CDC_PROPERTY_ENUM, 0, 0, "read_committed, read_uncommitted", false, false,
	"whether records of Kafka transactions wait for their commit"},
};

/* Why a name is refused; a name that ends in a dot or '_' is a prefix. */
static const struct
{
	const char *name;
	const char *reason;
}			refused[] = {
	{"plugin.library.paths", "It loads code into the server."},
	{"ssl.engine.", "It loads code into the server."},
	{"ssl.providers", "It loads code into the server."},
	{"sasl.kerberos.", "It runs commands on the server."},
	{"sasl.oauthbearer.", "It makes the server open URLs and files."},
	{"enable.sasl.oauthbearer.unsecure.jwt", "It makes logins without a proof of identity."},
	{"https.ca.", "It reads files of the server."},
	{"ssl.ca.location", "It reads files of the server; use ssl.ca.pem or ssl.ca.pem_file."},
	{"ssl.certificate.location", "It reads files of the server; use ssl.certificate.pem or ssl.certificate.pem_file."},
	{"ssl.key.location", "It reads files of the server; use ssl.key.pem or ssl.key.pem_file."},
	{"ssl.keystore.", "It reads files of the server; use ssl.certificate.pem and ssl.key.pem."},
	{"ssl.crl.location", "It reads files of the server."},
	{"enable.ssl.certificate.verification", "Certificates are always checked."},
	{"debug", "It writes secrets to the log."},
	{"log", "cdc_sink reads the library's log itself."},
	{"log_level", "cdc_sink reads the library's log itself."},
	{"log.", "cdc_sink reads the library's log itself."},
	{"test.", "It is for tests of librdkafka."},
	{"ut_", "It is for tests of librdkafka."},
	{"internal.termination.signal", "It changes signal handling of the server."},
	{"auto.offset.reset", "Positions belong to cdc_sink; see start_position and on_offset_out_of_range."},
	{"auto.commit.", "Positions belong to cdc_sink."},
	{"enable.auto.", "Positions belong to cdc_sink."},
	{"offset.store.", "Positions belong to cdc_sink."},
	{"group.", "No consumer group is joined; see option consumer_group."},
	{"partition.assignment.strategy", "No consumer group is joined."},
	{"session.timeout.ms", "No consumer group is joined."},
	{"enable.partition.eof", "It decides correctness and is fixed."},
	{"check.crcs", "It decides correctness and is fixed."},
	{"allow.auto.create.topics", "cdc_sink never creates the topics it reads."},
	{"enable.metrics.push", "It is always off."},
	{"statistics.interval.ms", "cdc_sink has views for it."},
	{"receive.message.max.bytes", "It bounds memory and is fixed."},
};

/* Length of the name without "_file", or 0 where it does not end so. */
static size_t
file_base_length(const char *name)
{
	size_t		len = strlen(name);

	return len > 5 && strcmp(name + len - 5, "_file") == 0 ? len - 5 : 0;
}

const CdcProperty *
cdc_property_find(const char *name)
{
	size_t		base = file_base_length(name);

	for (size_t i = 0; i < lengthof(properties); i++)
	{
		const CdcProperty *property = &properties[i];

		if (strcmp(property->name, name) == 0)
			return property;
		if (base > 0 && property->file && strlen(property->name) == base &&
			strncmp(property->name, name, base) == 0)
			return property;
	}
	return NULL;
}

/* Where an option of this name may stand: a _file holds no secret itself. */
static int
places_of(const CdcProperty *property, bool is_file)
{
	return is_file ? SERVER | MAPPING : property->places;
}

static const char *
refusal_reason(const char *name)
{
	for (size_t i = 0; i < lengthof(refused); i++)
	{
		size_t		len = strlen(refused[i].name);
		char		last = refused[i].name[len - 1];
		bool		prefix = last == '.' || last == '_';

		if (prefix ? strncmp(name, refused[i].name, len) == 0 :
			strcmp(name, refused[i].name) == 0)
			return refused[i].reason;
	}
	return NULL;
}

/* What nearest_names keeps of a candidate. */
typedef struct NearName
{
	int			distance;
	char		name[LONGEST_NAME + 1];
} NearName;

static void
offer_name(NearName *near, int n, const char *wanted, const char *name,
		   const char *suffix)
{
	NearName	candidate;
	int			at = n;

	snprintf(candidate.name, sizeof(candidate.name), "%s%s", name, suffix);
	candidate.distance = varstr_levenshtein(wanted, strlen(wanted),
											candidate.name,
											strlen(candidate.name),
											1, 1, 1, true);
	while (at > 0 && near[at - 1].distance > candidate.distance)
		at--;
	if (at == n)
		return;
	memmove(&near[at + 1], &near[at], (n - at - 1) * sizeof(NearName));
	near[at] = candidate;
}

/* The three valid names of a place that are nearest to one that is not. */
static char *
nearest_names(const char *wanted, CdcPropertyPlace place)
{
	NearName	near[3];

	if (strlen(wanted) > LONGEST_NAME)
		return pstrdup("bootstrap.servers");
	for (size_t i = 0; i < lengthof(near); i++)
		near[i].distance = PG_INT32_MAX;
	for (size_t i = 0; i < lengthof(properties); i++)
	{
		if (properties[i].places & place)
			offer_name(near, lengthof(near), wanted, properties[i].name, "");
		if (properties[i].file && (places_of(&properties[i], true) & place))
			offer_name(near, lengthof(near), wanted, properties[i].name, "_file");
	}
	return psprintf("%s, %s, %s", near[0].name, near[1].name, near[2].name);
}

/* Raises for a name that may not be set in this place. */
static void
refuse_name(const char *name, CdcPropertyPlace place,
			const CdcProperty *property)
{
	const char *reason = property == NULL ? refusal_reason(name) : NULL;
	const char *elsewhere = NULL;

	if (property != NULL && place == CDC_PROPERTY_TUNING)
		elsewhere = "Set it on the server or the user mapping.";
	else if (property != NULL && place == CDC_PROPERTY_SERVER)
		elsewhere = "Options of a server can be read by everyone: set it on the user mapping.";
	else if (property != NULL)
		elsewhere = "Set it on the server.";
	ereport(ERROR,
			(errcode(place == CDC_PROPERTY_TUNING ?
					 ERRCODE_INVALID_PARAMETER_VALUE :
					 ERRCODE_FDW_INVALID_OPTION_NAME),
			 reason != NULL ?
			 errmsg("option \"%s\" is not allowed", name) :
			 elsewhere != NULL ?
			 errmsg("option \"%s\" is not allowed here", name) :
			 errmsg("unrecognized option \"%s\"", name),
			 reason != NULL ? errdetail("%s", reason) :
			 elsewhere != NULL ? errdetail("%s", elsewhere) : 0,
			 errhint("Nearest valid options: %s.",
					 nearest_names(name, place))));
}

/* Is value one of the words of "a, b, c"? */
static bool
is_one_of(const char *value, const char *values)
{
	size_t		len = strlen(value);

	for (const char *word = values; word != NULL;)
	{
		const char *end = strchr(word, ',');
		size_t		word_len = end ? (size_t) (end - word) : strlen(word);

		if (word_len == len && pg_strncasecmp(word, value, len) == 0)
			return true;
		word = end ? end + 2 : NULL;
	}
	return false;
}

static bool
is_label(const char *value)
{
	return strlen(value) <= 64 &&
		strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
		== strlen(value);
}

static bool
is_int_between(const char *value, int min, int max)
{
	char	   *end;
	long		number;

	errno = 0;
	number = strtol(value, &end, 10);
	return errno == 0 && end != value && *end == '\0' &&
		number >= min && number <= max;
}

/* Says what values are valid, or NULL where this one is. */
static char *
value_problem(const CdcProperty *property, const char *value)
{
	switch (property->type)
	{
		case CDC_PROPERTY_STRING:
			return *value == '\0' ? pstrdup("It must not be empty.") : NULL;
		case CDC_PROPERTY_INT:
			return is_int_between(value, property->min, property->max) ? NULL :
				psprintf("Valid are numbers from %d to %d.", property->min,
						 property->max);
		case CDC_PROPERTY_BOOL:
			return is_one_of(value, "true, false") ? NULL :
				pstrdup("Valid are true and false.");
		case CDC_PROPERTY_ENUM:
			return is_one_of(value, property->values) ? NULL :
				psprintf("Valid are: %s.", property->values);
		case CDC_PROPERTY_LABEL:
			return is_label(value) ? NULL :
				pstrdup("Valid are at most 64 letters, digits, dots, underscores and hyphens.");
	}
	return NULL;
}

/* Is it the base name of a file? */
static bool
is_base_name(const char *name)
{
	return *name != '\0' && strlen(name) < MAXPGPATH / 2 &&
		strchr(name, '/') == NULL &&
		strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

void
cdc_property_check(const char *name, const char *value, CdcPropertyPlace place)
{
	const CdcProperty *property = cdc_property_find(name);
	bool		is_file = property != NULL && strcmp(property->name, name) != 0;
	char	   *problem;

	if (property == NULL || !(places_of(property, is_file) & place))
		refuse_name(name, place, property);
	if (is_file && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\"", name),
				 errdetail("Only superusers may name files of the server.")));
	if (is_file)
		problem = is_base_name(value) ? NULL :
			pstrdup("Valid is the name of a file inside cdc_sink.secrets_directory, without a directory.");
	else
		problem = value_problem(property, value);
	if (problem == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 property->secret || strlen(value) > 100 ?
			 errmsg("invalid value for option \"%s\"", name) :
			 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
			 errdetail("%s", problem),
			 errhint("%s: %s.", property->name, property->help)));
}

void
cdc_property_resolve(const char *name, const char *value,
					 CdcKafkaProperty *property)
{
	const CdcProperty *row = cdc_property_find(name);

	if (row == NULL)
		refuse_name(name, CDC_PROPERTY_SERVER, NULL);
	property->name = pstrdup(row->name);
	property->secret = row->secret;
	property->value = strcmp(row->name, name) == 0 ? pstrdup(value) :
		cdc_secret_read(value);
}

void
cdc_properties_wipe(CdcKafkaProperty *list, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (list[i].secret && list[i].value != NULL)
			explicit_bzero(unconstify(char *, list[i].value),
						   strlen(list[i].value));
	}
}

/* Opens a secret's file for reading and checks who could have written it. */
static int
open_secret(const char *name)
{
	char		path[MAXPGPATH];
	struct stat st;
	int			fd;

	if (cdc_guc_secrets_directory == NULL ||
		cdc_guc_secrets_directory[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("secret file \"%s\" cannot be read", name),
				 errhint("Set cdc_sink.secrets_directory to the directory that holds it.")));
	if (!is_base_name(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no name of a secret file", name)));
	snprintf(path, sizeof(path), "%s/%s", cdc_guc_secrets_directory, name);
	fd = OpenTransientFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | PG_BINARY);
	if (fd < 0 || fstat(fd, &st) != 0)
	{
		bool		symlink = errno == ELOOP;

		ereport(ERROR,
				(symlink ? errcode(ERRCODE_INSUFFICIENT_PRIVILEGE) :
				 errcode_for_file_access(),
				 errmsg("could not open secret file \"%s\": %m", name)));
	}
	if (!S_ISREG(st.st_mode) ||
		(st.st_uid != geteuid() && st.st_uid != 0) ||
		(st.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("secret file \"%s\" is not private", name),
				 errdetail("It must be a regular file of the server's user or of root, of mode 0640 or less.")));
	if (st.st_size > LARGEST_SECRET)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("secret file \"%s\" is too large", name)));
	return fd;
}

char *
cdc_secret_read(const char *name)
{
	int			fd = open_secret(name);
	char	   *text = palloc(LARGEST_SECRET + 1);
	char	   *result;
	ssize_t		len = 0;
	ssize_t		got;

	while (len < LARGEST_SECRET &&
		   (got = read(fd, text + len, LARGEST_SECRET - len)) != 0)
	{
		if (got < 0 && errno != EINTR)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read secret file \"%s\": %m", name)));
		len += Max(got, 0);
	}
	CloseTransientFile(fd);
	if (len > 0 && text[len - 1] == '\n')
		len--;
	if (len > 0 && text[len - 1] == '\r')
		len--;
	text[len] = '\0';
	if (len == 0 || strlen(text) != (size_t) len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("secret file \"%s\" is empty or no text", name)));
	result = pstrdup(text);
	explicit_bzero(text, len);
	pfree(text);
	return result;
}
