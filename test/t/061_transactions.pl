# fault 28: kafka transactions: what is aborted is never applied, what is open is not waited for, control records count as read.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::Kafka;
use CdcSink::Node;
use CdcSink::Transaction;

my $kafka = CdcSink::Kafka->new;
$kafka->create_topic('items', 2);
my $node = new_read_side('transactions');
create_server($node, 'postgres', $kafka->bootstrap);
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE items (id int PRIMARY KEY, v text);
CREATE TABLE log (id int, v text, __op text, __partition int, __offset bigint);
SELECT cdc_sink.create_subscription('s', 'kafka');
SELECT cdc_sink.add_mapping('s', 'items', 'items');
SELECT cdc_sink.create_subscription('log', 'kafka', options => '{"batch_rows": 3}');
SELECT cdc_sink.add_mapping('log', 'items', 'log', options => '{"mode": "append"}');
SQL

sub order { my ($producer, @words) = @_; $producer->order(@words); return; }
sub put { my ($producer, $partition, @rows) = @_; $producer->put('items', $partition, map { inserted($_) } @rows); return; }
sub rows { return $node->safe_psql('postgres', q(SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM items)); }
sub next_offsets { return $node->safe_psql('postgres', q(SELECT string_agg(next_offset::text, ' ' ORDER BY partition) FROM cdc_sink.position WHERE subscription = 's')); }

my $one = CdcSink::Transaction->new($kafka, 'one');
my $two = CdcSink::Transaction->new($kafka, 'two');

# --- committed: the control record at the tail is passed, too
order($one, 'begin');
put($one, 0, { id => 1, v => 'a' }, { id => 2, v => 'b' });
order($one, 'commit');
ok_caught_up($node, $_, "$_: a control record at the tail stalls nobody") foreach qw(s log);
is(rows(), '1 a, 2 b', 'what was committed is there');
is(next_offsets(), '3 0', 'the position is behind the control record');

# --- aborted
order($one, 'begin');
put($one, 0, { id => 1, v => 'aborted' }, { id => 3, v => 'aborted' });
put($one, 1, { id => 4, v => 'aborted' });
order($one, 'abort');
ok_caught_up($node, $_, "$_: nothing but aborted records at the tail stalls nobody") foreach qw(s log);
is(rows(), '1 a, 2 b', 'what was aborted is not there');
is(next_offsets(), '6 2', 'the positions are behind it');

# --- open: the last stable offset is the end, whatever committed records stand behind it
order($one, 'begin');
put($one, 0, { id => 5, v => 'open' });
order($two, 'begin');
put($two, 0, { id => 6, v => 'behind' });
put($two, 1, { id => 7, v => 'beside' });
order($two, 'commit');
ok_caught_up($node, $_, "$_: an open transaction is not waited for") foreach qw(s log);
is(rows(), '1 a, 2 b, 7 beside', 'what stands behind it in its partition is not there yet');
is($node->safe_psql('postgres', q(SELECT string_agg(concat_ws(' ', next_offset, end_offset, lag_records), ', ' ORDER BY partition) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE subscription = 's')),
	'6 6 0, 4 4 0', 'ends are last stable offsets');
$node->poll_query_until('postgres',
	q(SELECT concat_ws(' ', state, state_reason) = 'waiting waiting_for_transaction' FROM cdc_sink.pg_stat_cdc_sink_partition WHERE subscription = 's' AND partition = 0));
is($node->safe_psql('postgres', q(SELECT string_agg(concat_ws(' ', state, state_reason), ', ' ORDER BY partition) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE subscription = 's')),
	'waiting waiting_for_transaction, streaming', 'the view shows the open transaction');
is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('s', 'items', 0, 7, '1 s')"), 'f', 'who waits for a record behind it waits');

# --- a restart in the middle
$node->stop('immediate');
$node->start;
ok_caught_up($node, $_, "$_: after a crash likewise") foreach qw(s log);
is(rows(), '1 a, 2 b, 7 beside', 'nothing of it is there');
order($one, 'commit');
is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('s', 'items', 0, 7)"), 't', 'it ends with the transaction');
ok_caught_up($node, $_, "$_: once it is committed, all is there") foreach qw(s log);
is(rows(), '1 a, 2 b, 5 open, 6 behind, 7 beside', 'as it was written');

# --- an open one that is aborted
order($one, 'begin');
put($one, 1, { id => 8, v => 'aborted' });
ok_caught_up($node, 's', 'an open transaction at the tail');
order($one, 'abort');
ok_caught_up($node, $_, "$_: once it is aborted, its records are passed") foreach qw(s log);

# --- many, interleaved
foreach my $round (1 .. 20)
{
	order($_, 'begin') foreach $one, $two;
	put($one, $round % 2, map { { id => 100 + $_, v => "one $round" } } 1 .. 10);
	put($two, $round % 2, map { { id => 200 + $_, v => "two $round" } } 1 .. 10);
	order($one, $round % 3 ? 'abort' : 'commit');
	order($two, $round % 4 ? 'commit' : 'abort');
}
ok_caught_up($node, $_, "$_: interleaved transactions") foreach qw(s log);
is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE v LIKE 'one %' AND split_part(v, ' ', 2)::int % 3 = 0 OR v LIKE 'two %' AND split_part(v, ' ', 2)::int % 4 <> 0) FROM items WHERE id > 100"),
	'20|20', 'rows of committed ones only');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT (__partition, __offset)) FROM log'), '215|215', 'each committed record once');
is($node->safe_psql('postgres', "SELECT count(*) FROM log WHERE v = 'aborted' OR v LIKE 'one %' AND split_part(v, ' ', 2)::int % 3 <> 0 OR v LIKE 'two %' AND split_part(v, ' ', 2)::int % 4 = 0"),
	'0', 'and none that was aborted');

$node->stop('fast');
ok_no_crash($node, stops => 1);
done_testing();
