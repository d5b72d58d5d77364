/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Every difference between PostgreSQL 15, 16, 17 and 18, and between
 *		librdkafka releases.
 *
 * Floor 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_COMPAT_H
#define CDC_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "cdc_sink needs PostgreSQL 15 or later"
#endif

#endif							/* CDC_COMPAT_H */
