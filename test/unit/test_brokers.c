/*-------------------------------------------------------------------------
 *
 * test_brokers.c
 *		The list of brokers that a client may connect to.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "brokers.h"

/* Asks whether list allows the address; name is what was resolved to it. */
static bool
allows(const char *list_text, const char *name, const char *ip, int port)
{
	struct sockaddr_storage storage = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *) &storage;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) &storage;
	char	   *problem;
	CdcBrokerList *list = cdc_brokers_parse(list_text, &problem);
	bool		result;

	if (list == NULL)
	{
		unit_ok(false, "list \"%s\" can be read", list_text);
		return false;
	}
	if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1)
	{
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16) port);
	}
	else
	{
		inet_pton(AF_INET6, ip, &v6->sin6_addr);
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16) port);
	}
	result = cdc_brokers_allow(list, name, (struct sockaddr *) &storage);
	cdc_brokers_free(list);
	return result;
}

static void
test_addresses(void)
{
	unit_ok(allows("", "any:1", "192.0.2.1", 1), "an empty list allows all");
	unit_ok(allows("10.0.0.0/8", "b:9092", "10.255.0.1", 9092),
			"an address inside a network");
	unit_ok(!allows("10.0.0.0/8", "b:9092", "11.0.0.1", 9092),
			"an address outside of it");
	unit_ok(!allows("10.0.0.0/8:9093", "b:9092", "10.0.0.1", 9092),
			"another port");
	unit_ok(allows("192.0.2.7", "b:1", "192.0.2.7", 1), "an address, any port");
	unit_ok(!allows("192.0.2.7:9092", "192.0.2.7:9093", "192.0.2.7", 9093),
			"an address with another port");
	unit_ok(allows("192.0.2.128/25", "b:1", "192.0.2.200", 1) &&
			!allows("192.0.2.128/25", "b:1", "192.0.2.100", 1),
			"a network that ends inside a byte");
	unit_ok(allows("0.0.0.0/0", "b:1", "203.0.113.9", 1) &&
			!allows("0.0.0.0/0", "b:1", "2001:db8::1", 1),
			"the network of all IPv4 addresses has no IPv6 address in it");
	unit_ok(allows("a:1, 192.0.2.1:5 ,10.0.0.1", "b:5", "192.0.2.1", 5),
			"one of several entries");
}

static void
test_ipv6(void)
{
	unit_ok(allows("2001:db8::/32", "b:1", "2001:db8:1::5", 1), "an IPv6 network");
	unit_ok(allows("[2001:db8::5]:9092", "b:9092", "2001:db8::5", 9092) &&
			!allows("[2001:db8::5]:9092", "b:9093", "2001:db8::5", 9093),
			"an IPv6 address with a port");
	unit_ok(allows("[2001:db8::/32]:9092", "b:9092", "2001:db8::5", 9092) &&
			allows("[2001:db8::]/32:9092", "b:9092", "2001:db8::5", 9092),
			"an IPv6 network with a port");
	unit_ok(allows("10.0.0.0/8", "b:1", "::ffff:10.1.1.1", 1),
			"an IPv4 address in IPv6 form");
}

static void
test_names(void)
{
	unit_ok(allows("kafka.test:9092", "Kafka.Test:9092", "192.0.2.1", 9092),
			"a name, whatever its case");
	unit_ok(!allows("kafka.test:9092", "kafka.test:9093", "192.0.2.1", 9093),
			"the port counts that is connected to");
	unit_ok(!allows("kafka.test:9092", "kafka.test.evil:9092", "192.0.2.1", 9092),
			"a longer name");
	unit_ok(allows("localhost:9092", "127.0.0.1:9092", "127.0.0.1", 9092),
			"an address that an allowed host has");
	unit_ok(!allows("localhost:9092", "192.0.2.1:9092", "192.0.2.1", 9092),
			"an address that it has not");
}

static void
test_unresolved(void)
{
	char	   *problem;
	CdcBrokerList *list = cdc_brokers_parse("localhost, 192.0.2.0/24:9092",
											&problem);

	unit_ok(cdc_brokers_allow_name(list, "localhost:1234"), "a name by itself");
	unit_ok(cdc_brokers_allow_name(list, "127.0.0.1:1"), "an address of a name");
	unit_ok(cdc_brokers_allow_name(list, "192.0.2.1"), "the default port is 9092");
	unit_ok(!cdc_brokers_allow_name(list, "192.0.2.1:9093"), "another port");
	unit_ok(!cdc_brokers_allow_name(list, ""), "no name at all");
	cdc_brokers_free(list);
}

static void
refuses(const char *text, const char *entry)
{
	char	   *problem = NULL;
	CdcBrokerList *list = cdc_brokers_parse(text, &problem);

	unit_ok(list == NULL && problem != NULL && strcmp(problem, entry) == 0,
			"\"%s\" cannot be read because of \"%s\"", text, entry);
	free(problem);
}

int
main(void)
{
	test_addresses();
	test_ipv6();
	test_names();
	test_unresolved();
	refuses("a, 10.0.0.0/33", "10.0.0.0/33");
	refuses("host:99999", "host:99999");
	refuses("host:0", "host:0");
	refuses("host/8", "host/8");
	refuses("[::1", "[::1");
	refuses(":9092", ":9092");
	return unit_done();
}
