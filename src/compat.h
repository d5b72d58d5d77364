/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Every difference between PostgreSQL 15, 16, 17 and 18, and between
 *		librdkafka releases.
 *
 * Floor 0.  It needs postgres.h before it.  A server header is included only
 * where the file that uses the wrapper includes it too.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_COMPAT_H
#define CDC_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "cdc_sink needs PostgreSQL 15 or later"
#endif

#include "catalog/pg_database.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_namespace.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

/*
 * 18 has pg_noreturn instead, which goes before the declaration.
 */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/*
 * 18 lets a module say its name and version.
 */
#if PG_VERSION_NUM >= 180000
#define CDC_MODULE_MAGIC(version_) \
	PG_MODULE_MAGIC_EXT(.name = "cdc_sink", .version = version_)
#else
#define CDC_MODULE_MAGIC(version_) PG_MODULE_MAGIC
#endif

/*
 * Named wait events of extensions came with 17; before, every one of them is
 * "Extension".  The number is asked for once a process and kept in *cache
 * (a static of the caller, 0 at first).
 */
static inline uint32
cdc_compat_wait_event(uint32 *cache, const char *name)
{
#if PG_VERSION_NUM >= 170000
	if (*cache == 0)
		*cache = WaitEventExtensionNew(name);
	return *cache;
#else
	return PG_WAIT_EXTENSION;
#endif
}

/*
 * A wait-event set for the life of the process.  17 replaced the memory
 * context by a resource owner, which NULL makes none.
 */
static inline WaitEventSet *
cdc_compat_create_wait_event_set(int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(TopMemoryContext, nevents);
#endif
}

/*
 * Connecting a worker as a role without LOGIN: possible from 17 on.
 */
#if PG_VERSION_NUM >= 170000
#define CDC_WORKER_NEEDS_LOGIN	false
#define CDC_WORKER_CONNECT_FLAGS BGWORKER_BYPASS_ROLELOGINCHECK
#else
#define CDC_WORKER_NEEDS_LOGIN	true
#define CDC_WORKER_CONNECT_FLAGS 0
#endif

/*
 * 17's transaction_timeout runs in every process, whatever it does; a server's
 * setting must not end ours.
 */
#if PG_VERSION_NUM >= 170000
#include "utils/guc.h"
#endif
static inline void
cdc_compat_no_transaction_timeout(void)
{
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

/*
 * May member SET ROLE to role?  16 made that an option of a membership.
 */
static inline bool
cdc_compat_can_set_role(Oid member, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return member_can_set_role(member, role);
#else
	return is_member_of_role(member, role);
#endif
}

/*
 * Rights on a database: 16 gave all classes of objects one function.
 */
static inline AclResult
cdc_compat_database_aclcheck(Oid database, Oid role, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(DatabaseRelationId, database, role, mode);
#else
	return pg_database_aclcheck(database, role, mode);
#endif
}

/*
 * Rights on a foreign server, likewise.
 */
static inline AclResult
cdc_compat_server_aclcheck(Oid server, Oid role, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ForeignServerRelationId, server, role, mode);
#else
	return pg_foreign_server_aclcheck(server, role, mode);
#endif
}

/*
 * Rights on a schema, likewise.
 */
static inline AclResult
cdc_compat_namespace_aclcheck(Oid namespace, Oid role, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(NamespaceRelationId, namespace, role, mode);
#else
	return pg_namespace_aclcheck(namespace, role, mode);
#endif
}

/*
 * Rights on a foreign-data wrapper, likewise.
 */
static inline AclResult
cdc_compat_wrapper_aclcheck(Oid wrapper, Oid role, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ForeignDataWrapperRelationId, wrapper, role, mode);
#else
	return pg_foreign_data_wrapper_aclcheck(wrapper, role, mode);
#endif
}

#ifdef CDC_COMPAT_EXECUTOR
#include "executor/executor.h"
#include "parser/parse_relation.h"
#include "utils/rel.h"

/*
 * A result relation for inserts of our own, in the estate's query context:
 * 16 keeps permissions apart from the range table, 18 wants to know which
 * relations may be pruned.
 */
static inline ResultRelInfo *
cdc_compat_result_relation(EState *estate, Relation heap)
{
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	ResultRelInfo *info = makeNode(ResultRelInfo);

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(heap);
	rte->relkind = heap->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
	{
		List	   *permissions = NIL;

		addRTEPermissionInfo(&permissions, rte);
#if PG_VERSION_NUM >= 180000
		ExecInitRangeTable(estate, list_make1(rte), permissions,
						   bms_make_singleton(1));
#else
		ExecInitRangeTable(estate, list_make1(rte), permissions);
#endif
	}
#else
	ExecInitRangeTable(estate, list_make1(rte));
#endif
	InitResultRelInfo(info, heap, 1, NULL, 0);
	MemoryContextSwitchTo(old);
	return info;
}

/* Index entries of a new row; 16 added an argument. */
static inline List *
cdc_compat_insert_index_tuples(ResultRelInfo *info, TupleTableSlot *slot,
							   EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL,
								 false);
#else
	return ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL);
#endif
}
#endif							/* CDC_COMPAT_EXECUTOR */

#endif							/* CDC_COMPAT_H */
