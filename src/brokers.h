/*-------------------------------------------------------------------------
 *
 * brokers.h
 *		The list of brokers that a client may connect to.
 *
 * Floor 1.  Plain C on malloc memory: librdkafka asks from its own threads,
 * where no backend function may run.  A parsed list is never changed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_BROKERS_H
#define CDC_BROKERS_H

#include <stdbool.h>
#include <stddef.h>

struct sockaddr;

typedef struct CdcBrokerList CdcBrokerList;

/*
 * Parses the text of cdc_sink.allowed_brokers: entries separated by commas,
 * each host, host:port, IP[/length] or IP[/length]:port, IPv6 in brackets
 * where a port follows.  NULL on error; then *problem is the entry that
 * cannot be read (malloc'ed), or NULL when memory ran out.
 */
extern CdcBrokerList *cdc_brokers_parse(const char *text, char **problem);
extern void cdc_brokers_free(CdcBrokerList *list);
/* Has the text no entry, commas or blanks aside?  Then any broker is allowed. */
extern bool cdc_brokers_empty(const CdcBrokerList *list);

/*
 * May a client connect to this address?  name is what was resolved to it,
 * "host:port".  A host entry matches the name, whatever it was resolved to
 * (asked again, a name of many addresses may give others), or an address that
 * the host has now (a look-up that may take time); an IP entry matches the
 * address.
 */
extern bool cdc_brokers_allow(const CdcBrokerList *list, const char *name,
							  const struct sockaddr *address);

/*
 * The same for a "host[:port]" that is not resolved yet: true where the name
 * or any of its present addresses is allowed.
 */
extern bool cdc_brokers_allow_name(const CdcBrokerList *list,
								   const char *name);

#endif							/* CDC_BROKERS_H */
