/*-------------------------------------------------------------------------
 *
 * options_table.h
 *		The options of subscriptions and mappings, one a line.
 *
 * Floor 1.  Included by options.c, which says what OPTION is, and read by
 * the script that writes the README's table, so each entry is one line:
 *
 *	OPTION(name, levels, type, field, default, min, max, words, help)
 *
 * levels	S subscription, M mapping, SM a mapping may override
 * type		WORD (one of words; the field gets its index), CHOICE (likewise,
 *			two words for false and true), BOOL, INT, BIGINT, TEXT (at most max bytes),
 *			TOPIC, LIST
 * default	as a user would write it; "" for none
 *
 * The order of words is that of the enumerations in options.h and of
 * SyncCommitLevel.
 *
 *-------------------------------------------------------------------------
 */
OPTION("on_error", SM, WORD, on_error, "stop", 0, 0, "stop,dead_letter,skip", "what becomes of a record that cannot be applied")
OPTION("max_errors", S, INT, max_errors, "0", 0, INT_MAX, NULL, "more errors than this in error_window_ms turn dead_letter and skip into stop; 0: no limit")
OPTION("error_window_ms", S, INT, error_window_ms, "60000", 1, INT_MAX, NULL, "window of max_errors, in ms")
OPTION("on_unknown_column", SM, WORD, on_unknown_column, "error", 0, 0, "error,ignore,add", "field without a column: an error, left out, or a nullable column is added (from a schema)")
OPTION("on_missing_row", SM, WORD, on_missing_row, "insert", 0, 0, "insert,ignore,error", "update of a row that is not there")
OPTION("on_truncate", SM, WORD, on_truncate, "apply", 0, 0, "apply,ignore,error", "truncate of the source table")
OPTION("on_delete", SM, CHOICE, delete_apply, "apply", 0, 0, "ignore,apply", "delete of a row")
OPTION("mode", M, WORD, mode, "upsert", 0, 0, "upsert,append", "keep the relation equal to the source, or add one row an event")
OPTION("key_columns", M, LIST, key_columns, "", 0, 0, NULL, "array of the columns, at most 32, that find a row; none: the primary key where the record key covers it, else the columns that the record key names")
OPTION("enabled", M, BOOL, enabled, "true", 0, 0, NULL, "false holds the positions of the topic; refused for one of several mappings of a topic")
OPTION("on_offset_out_of_range", S, CHOICE, out_of_range_earliest, "stop", 0, 0, "stop,earliest", "a stored position is not in the log any more")
OPTION("batch_rows", S, INT, batch_rows, "10000", 1, 1000000, NULL, "most records of a batch")
OPTION("batch_bytes", S, BIGINT, batch_bytes, "16777216", 1024, 1073741824, NULL, "most bytes of keys and values of a batch; with what is decoded of them never above a twelfth of cdc_sink.memory_limit")
OPTION("batch_interval_ms", S, INT, batch_interval_ms, "50", 0, 3600000, NULL, "greatest age of an open batch, in ms; a batch commits at once when the queue is empty")
OPTION("workers", S, INT, workers, "1", 1, 64, NULL, "processes that share the partitions of the subscription")
OPTION("retry_backoff_ms", S, INT, retry_backoff_ms, "100", 10, 3600000, NULL, "first delay before a transient error is tried again, in ms; it doubles each time")
OPTION("retry_backoff_max_ms", S, INT, retry_backoff_max_ms, "30000", 10, 3600000, NULL, "longest delay, in ms")
OPTION("synchronous_commit", S, WORD, synchronous_commit, "off", 0, 0, "off,local,remote_write,on,remote_apply", "of the transactions that apply; off loses nothing, for the position is lost with the data")
OPTION("session_replication_role", S, CHOICE, replica_role, "replica", 0, 0, "origin,replica", "which triggers and foreign keys of the target tables fire")
OPTION("run_as_owner", S, BOOL, run_as_owner, "false", 0, 0, NULL, "apply as the owner of the subscription instead of the owner of the table; where it can neither SET ROLE to that one nor set session_replication_role, triggers and foreign keys of the table work as with origin")
OPTION("consumer_group", S, TEXT, consumer_group, "", 0, 255, NULL, "group to which committed positions are published for lag tools; never read back")
OPTION("dead_letter_topic", S, TOPIC, dead_letter_topic, "", 0, 249, NULL, "topic to which dead letters are also published after the commit, at least once")
