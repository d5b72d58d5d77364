/*-------------------------------------------------------------------------
 *
 * catalog_server.h
 *		What a subscription's owner may connect to, and with which properties.
 *
 * Floor 4.  Every function needs a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_CATALOG_SERVER_H
#define CDC_CATALOG_SERVER_H

#include "foreign/foreign.h"

#include "catalog.h"

/* A server of our wrapper; 42704 or 42809. */
extern ForeignServer *cdc_catalog_server(const char *name);
/*
 * May role connect to this server of ours?  42501 where it has no USAGE, or a
 * user mapping whose secrets the server's owner could send elsewhere.
 */
extern void cdc_catalog_check_server(const char *name, Oid role);

/*
 * Properties of the subscription's server and of the owner's user mapping,
 * secrets read from their files, tuning options of the subscription laid
 * over.  Checks what cdc_catalog_check_server does.  Allocates in
 * CurrentMemoryContext.
 */
extern void cdc_catalog_kafka_config(const CdcSubscription *subscription,
									 CdcKafkaConfig *config);
/* The same for a server and a user, without a subscription. */
extern void cdc_catalog_server_config(const char *server, Oid user,
									  CdcKafkaConfig *config);

#endif							/* CDC_CATALOG_SERVER_H */
