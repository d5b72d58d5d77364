"""What must be true at a quiet point, in Jepsen's words.

Kafka itself, read by another client from the first offset on, says which record stands where; it must be what the source wrote.
Of each partition the table "log" must hold each of these records once and in order: a record that is missing before the last one
that came is lost, behind it unseen; one of an aborted transaction, or none at all, is phantom. The other tables must be equal to the source's.
"""
import collections
import json

from say import Failure
from world import SUBSCRIPTIONS

WORDS = ("lost", "duplicate", "reordered", "unseen", "phantom", "unequal")


def wait_until_applied(sink, seconds):
    """wait_for_catchup of each subscription; what passes by itself (a partition that DDL set right a moment ago) may take its time."""
    for subscription in SUBSCRIPTIONS:
        sink.until(lambda: sink.one(f"SELECT cdc_sink.wait_for_catchup('{subscription}', '10s')") == "t",
                   f"wait_for_catchup of {subscription}", seconds)


def check_log(sink, log):
    """Counts of what is wrong with the table that keeps every record, and the first few of each kind."""
    wrong, examples = collections.Counter(), []
    got = collections.defaultdict(list)
    for topic, partition, offset, op, key in sink.rows("SELECT __topic, __partition, __offset, __op, id FROM log ORDER BY seq"):
        got[topic, int(partition)].append((int(offset), op, key))

    def count(word, where, what):
        wrong[word] += 1
        if wrong[word] <= 3:
            examples.append(f"{word}: {where} {what}")

    for where, records in log.records.items():
        want = {}
        for offset, value in records:
            event = None if value is None else json.loads(value)
            if event is not None and event["op"] != "t":
                want[offset] = (event["op"], str((event["after"] or event["before"])["id"]))
        seen, last = set(), -1
        for offset, op, key in got.pop(where, []):
            if offset not in want:
                count("phantom", where, f"offset {offset}")
            elif offset in seen:
                count("duplicate", where, f"offset {offset}")
            else:
                if offset < last:
                    count("reordered", where, f"offset {offset} after {last}")
                if want[offset] != (op, key):
                    count("unequal", where, f"offset {offset}: {op} {key} instead of {want[offset]}")
            seen.add(offset)
            last = max(last, offset)
        for offset in want:
            if offset not in seen:
                count("lost" if offset < last else "unseen", where, f"offset {offset}")
    for where in got:
        count("phantom", where, "an unknown partition")
    return wrong, examples


def check_tables(sink, tables):
    """Rows of the upsert tables that differ from the source's."""
    wrong, examples = collections.Counter(), []
    for table in tables:
        got = {row[0]: tuple(row) for row in sink.rows(f"SELECT id, name, body, n FROM {table.name}")}
        want = {str(key): (str(key), row["name"], row["body"], str(row["n"])) for key, row in table.source.rows.items()}
        for key in sorted(got.keys() | want.keys(), key=int):
            if got.get(key) != want.get(key):
                word = "lost" if key not in got else "phantom" if key not in want else "unequal"
                wrong[word] += 1
                if wrong[word] <= 3:
                    examples.append(f"{word}: row {key} of {table.name}: {got.get(key)} instead of {want.get(key)}")
    return wrong, examples


def check(sink, log, tables, seconds=120):
    """Everything about one server; returns what to print. A Failure when anything is wrong."""
    wait_until_applied(sink, seconds)
    (one, first), (two, second) = check_log(sink, log), check_tables(sink, tables)
    letters = int(sink.one("SELECT count(*) FROM cdc_sink.dead_letter"))
    told = " ".join(f"{word} {one[word] + two[word]}" for word in WORDS)
    if one or two or letters:
        raise Failure(f"{sink.name}: {told}, dead letters {letters}\n" + "\n".join(first + second))
    return f"{told} of {sum(map(len, log.records.values()))} records, {sum(len(t.source.rows) for t in tables)} rows"


# what spoils the table of records, and the words that the oracle must find then
SPOILT = (
    ("DELETE FROM log WHERE seq = (SELECT seq FROM log ORDER BY __partition, __offset LIMIT 1 OFFSET 1)", {"lost"}),
    ("DELETE FROM log l WHERE __offset = (SELECT max(__offset) FROM log WHERE __topic = l.__topic AND __partition = l.__partition)", {"unseen"}),
    ("INSERT INTO log SELECT (SELECT max(seq) FROM log) + 1, id, n, __op, __topic, __partition, __offset FROM log LIMIT 1", {"duplicate"}),
    ("UPDATE log SET seq = (SELECT max(seq) FROM log) - seq", {"reordered"}),
    ("UPDATE log SET __offset = __offset + 1000000 WHERE seq = (SELECT max(seq) FROM log)", {"phantom"}),
    ("UPDATE log SET __op = 'x' WHERE seq = (SELECT max(seq) FROM log)", {"unequal"}),
)


def prove_sight(sink, log, tables):
    """An oracle that finds nothing must be able to find something: the table of records is spoilt in each way, and set right again."""
    wait_until_applied(sink, 120)
    sink.sql("SELECT cdc_sink.disable_subscription(subscription) FROM cdc_sink.subscription; CREATE TABLE kept AS TABLE log")
    for sql, words in SPOILT:
        sink.sql(f"{sql}; ANALYZE log")
        found = set(check_log(sink, log)[0])
        if not words <= found:
            raise Failure(f"the oracle is blind: {sql} gave {sorted(found)}")
        sink.sql("TRUNCATE log; INSERT INTO log TABLE kept")
    if check_log(sink, log)[0]:
        raise Failure("the oracle objects to a table that was set right")
    table = max(tables, key=lambda t: len(t.source.rows)).name
    sink.sql(f"DELETE FROM {table} WHERE id = (SELECT min(id) FROM {table}); UPDATE {table} SET n = n + 1 WHERE id = (SELECT max(id) FROM {table});"
             f"INSERT INTO {table} (id, n) VALUES (-1, 0)")
    if set(check_tables(sink, tables)[0]) != {"lost", "unequal", "phantom"}:
        raise Failure("the oracle is blind for rows")
