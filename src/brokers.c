/*-------------------------------------------------------------------------
 *
 * brokers.c
 *		The list of brokers that a client may connect to.
 *
 * Floor 1.  Plain C, no backend call, safe on any thread.  The one hard
 * thing: a broker's metadata can send the client anywhere, so what counts is
 * the address of the socket; a name only counts because the library has just
 * resolved that name to this address.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "brokers.h"

#define DEFAULT_PORT 9092

typedef struct BrokerEntry
{
	char		host[256];		/* empty: network and prefix are used */
	struct in6_addr network;	/* IPv4 as ::ffff:a.b.c.d */
	int			prefix;			/* bits of network that count, 0..128 */
	int			port;			/* 0: any */
} BrokerEntry;

struct CdcBrokerList
{
	size_t		n;
	BrokerEntry entries[];
};

/* Reads an IP address of either family into its IPv6 form. */
static bool
parse_ip(const char *text, struct in6_addr *out, bool *is_v4)
{
	struct in_addr v4;

	if (inet_pton(AF_INET, text, &v4) == 1)
	{
		memset(out, 0, sizeof(*out));
		out->s6_addr[10] = out->s6_addr[11] = 0xff;
		memcpy(&out->s6_addr[12], &v4, 4);
		*is_v4 = true;
		return true;
	}
	*is_v4 = false;
	return inet_pton(AF_INET6, text, out) == 1;
}

/* Reads a decimal number that is the whole text; -1 where it is not. */
static int
parse_number(const char *text, int max)
{
	char	   *end;
	long		value;

	if (*text < '0' || *text > '9')
		return -1;
	value = strtol(text, &end, 10);
	return (*end != '\0' || value > max) ? -1 : (int) value;
}

/*
 * Splits "host", "host:port", "[v6]", "[v6]:port" or a bare IPv6 address in
 * place.  *host and *port point into the text; *port is NULL where absent.
 * A prefix length stays with the host.
 */
static bool
split_host_port(char *text, char **host, char **port)
{
	char	   *colon = strrchr(text, ':');

	*host = text;
	*port = NULL;
	if (*text == '[')
	{
		char	   *close = strchr(text, ']');
		char	   *rest;

		if (close == NULL)
			return false;
		rest = close + 1;
		*host = text + 1;
		if (*rest == '/')		/* [v6]/length:port */
		{
			char	   *after = strchr(rest, ':');

			if (after != NULL)
			{
				*after = '\0';
				*port = after + 1;
			}
			memmove(close, rest, strlen(rest) + 1);
			return true;
		}
		*close = '\0';
		if (*rest == ':')
			*port = rest + 1;
		else if (*rest != '\0')
			return false;
		return true;
	}
	if (colon == NULL || strchr(text, ':') != colon)
		return true;			/* no port, or an IPv6 address without one */
	*colon = '\0';
	*port = colon + 1;
	return true;
}

/* Fills an entry from its text, which is changed. */
static bool
parse_entry(char *text, BrokerEntry *entry)
{
	char	   *host;
	char	   *port;
	char	   *slash;
	bool		is_v4;
	int			length = -1;

	memset(entry, 0, sizeof(*entry));
	if (!split_host_port(text, &host, &port) || *host == '\0')
		return false;
	if (port != NULL)
	{
		entry->port = parse_number(port, 65535);
		if (entry->port <= 0)
			return false;
	}
	slash = strchr(host, '/');
	if (slash != NULL)
	{
		*slash = '\0';
		length = parse_number(slash + 1, 128);
		if (length < 0)
			return false;
	}
	if (parse_ip(host, &entry->network, &is_v4))
	{
		if (is_v4 && length > 32)
			return false;
		entry->prefix = length < 0 ? 128 : length + (is_v4 ? 96 : 0);
		return true;
	}
	if (slash != NULL || strchr(host, ':') != NULL ||
		strlen(host) >= sizeof(entry->host))
		return false;
	strcpy(entry->host, host);
	return true;
}

CdcBrokerList *
cdc_brokers_parse(const char *text, char **problem)
{
	char	   *copy = strdup(text);
	size_t		room = strlen(text) / 2 + 1;
	CdcBrokerList *list = malloc(sizeof(*list) + room * sizeof(BrokerEntry));
	char	   *save = NULL;
	char	   *word;

	*problem = NULL;
	if (copy == NULL || list == NULL)
		goto fail;
	list->n = 0;
	for (word = strtok_r(copy, ", \t\r\n", &save); word != NULL;
		 word = strtok_r(NULL, ", \t\r\n", &save))
	{
		char	   *entry = strdup(word);

		if (entry == NULL)
			goto fail;
		if (!parse_entry(word, &list->entries[list->n]))
		{
			*problem = entry;
			goto fail;
		}
		free(entry);
		list->n++;
	}
	free(copy);
	return list;

fail:
	free(copy);
	free(list);
	return NULL;
}

void
cdc_brokers_free(CdcBrokerList *list)
{
	free(list);
}

bool
cdc_brokers_empty(const CdcBrokerList *list)
{
	return list->n == 0;
}

/* The address of a socket in IPv6 form, and its port; false: no IP socket. */
static bool
address_of(const struct sockaddr *address, struct in6_addr *out, int *port)
{
	if (address->sa_family == AF_INET)
	{
		const struct sockaddr_in *v4 = (const struct sockaddr_in *) address;

		memset(out, 0, sizeof(*out));
		out->s6_addr[10] = out->s6_addr[11] = 0xff;
		memcpy(&out->s6_addr[12], &v4->sin_addr, 4);
		*port = ntohs(v4->sin_port);
		return true;
	}
	if (address->sa_family == AF_INET6)
	{
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *) address;

		*out = v6->sin6_addr;
		*port = ntohs(v6->sin6_port);
		return true;
	}
	return false;
}

static bool
same_network(const struct in6_addr *a, const struct in6_addr *b, int prefix)
{
	int			bytes = prefix / 8;
	int			bits = prefix % 8;

	if (memcmp(a->s6_addr, b->s6_addr, bytes) != 0)
		return false;
	return bits == 0 ||
		((a->s6_addr[bytes] ^ b->s6_addr[bytes]) >> (8 - bits)) == 0;
}

/* Has host this address now?  Asks the resolver. */
static bool
host_has_address(const char *host, const struct in6_addr *wanted)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	struct addrinfo *each;
	bool		result = false;

	if (getaddrinfo(host, NULL, &hints, &found) != 0)
		return false;
	for (each = found; each != NULL && !result; each = each->ai_next)
	{
		struct in6_addr ip;
		int			port;

		result = address_of(each->ai_addr, &ip, &port) &&
			same_network(&ip, wanted, 128);
	}
	freeaddrinfo(found);
	return result;
}

/* The host of "host:port" in buf; empty where it does not fit. */
static void
host_of(const char *name, char *buf, size_t size, int *port)
{
	char		copy[512];
	char	   *host;
	char	   *port_text;

	*buf = '\0';
	*port = DEFAULT_PORT;
	if (strlen(name) >= sizeof(copy))
		return;
	strcpy(copy, name);
	if (!split_host_port(copy, &host, &port_text) || strlen(host) >= size)
		return;
	strcpy(buf, host);
	if (port_text != NULL)
		*port = parse_number(port_text, 65535);
}

bool
cdc_brokers_allow(const CdcBrokerList *list, const char *name,
				  const struct sockaddr *address)
{
	struct in6_addr ip;
	char		host[256];
	int			port;
	int			name_port;
	size_t		i;

	if (list->n == 0)
		return true;
	if (!address_of(address, &ip, &port))
		return false;
	host_of(name, host, sizeof(host), &name_port);
	for (i = 0; i < list->n; i++)
	{
		const BrokerEntry *entry = &list->entries[i];

		if (entry->port != 0 && entry->port != port)
			continue;
		if (entry->host[0] != '\0' ? strcasecmp(entry->host, host) == 0
			: same_network(&entry->network, &ip, entry->prefix))
			return true;
	}
	/* only what would be refused otherwise waits for the resolver */
	for (i = 0; i < list->n; i++)
	{
		const BrokerEntry *entry = &list->entries[i];

		if (entry->host[0] != '\0' &&
			(entry->port == 0 || entry->port == port) &&
			host_has_address(entry->host, &ip))
			return true;
	}
	return false;
}

bool
cdc_brokers_allow_name(const CdcBrokerList *list, const char *name)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,.ai_flags = AI_NUMERICSERV};
	struct addrinfo *found;
	struct addrinfo *each;
	char		host[256];
	char		service[16];
	int			port;
	bool		result = false;
	size_t		i;

	if (list->n == 0)
		return true;
	host_of(name, host, sizeof(host), &port);
	if (host[0] == '\0' || port <= 0)
		return false;
	for (i = 0; i < list->n; i++)
	{
		const BrokerEntry *entry = &list->entries[i];

		if (entry->host[0] != '\0' && strcasecmp(entry->host, host) == 0 &&
			(entry->port == 0 || entry->port == port))
			return true;
	}
	snprintf(service, sizeof(service), "%d", port);
	if (getaddrinfo(host, service, &hints, &found) != 0)
		return false;
	for (each = found; each != NULL && !result; each = each->ai_next)
		result = cdc_brokers_allow(list, name, each->ai_addr);
	freeaddrinfo(found);
	return result;
}
