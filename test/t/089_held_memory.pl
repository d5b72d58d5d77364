# A partition that waits for another one neither fills the memory, nor waits longer than the other one needs it to.
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
use CdcSink::Process qw(wait_for work_dir);

my $kafka = CdcSink::Kafka->new;
my $node = new_read_side('held', "cdc_sink.memory_limit = '16MB'\n");
create_server($node, 'postgres', $kafka->bootstrap);
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub state_of { return sql("SELECT concat_ws(' ', state, state_reason, next_offset) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE topic = '$_[0]' AND partition = $_[1]"); }

# Writes records to a partition by way of a file.
sub put
{
	my ($topic, $partition, @records) = @_;
	my $file = work_dir('held') . '/records';
	open(my $f, '>', $file) or die "$file: $!";
	print $f "$_->{key}\t$_->{value}\n" foreach @records;
	close($f);
	system_or_bail('kcat', '-P', '-b', $kafka->bootstrap, '-t', $topic, '-p', $partition, '-K', "\t", '-l', $file);
	return;
}

sub wait_for_partition
{
	my ($topic, $partition, $want, $title) = @_;
	my $state = '';
	eval { wait_for(sub { ($state = state_of($topic, $partition)) =~ $want }, $title) };
	like($state, $want, $title) or diag(show_views($node));
	return;
}

# Lets the stopped partition go on.
sub add_column
{
	sql("ALTER TABLE $_[0] ADD later int");
	$node->poll_query_until('postgres', "SELECT partitions_stopped = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = '$_[0]'") or die 'it is still stopped';
	return;
}

# --- partition 1 makes room for the record of partition 0 at the beginning of a long backlog
$kafka->create_topic('turns', 2);
sql(q(CREATE TABLE turns (id int PRIMARY KEY, v text UNIQUE, n bigserial);
	SELECT cdc_sink.create_subscription('turns', 'kafka', options => '{"batch_rows": 200}');
	SELECT cdc_sink.add_mapping('turns', 'turns', 'turns')));
put('turns', 1, inserted({ id => 2, v => 'a' }), inserted({ id => 3, v => 'b', later => 1 }));
wait_for_partition('turns', 1, qr/^stopped configuration_error 1$/, 'partition 1 stands before a column that is missing');
put('turns', 0, inserted({ id => 1, v => 'a' }));
wait_for_partition('turns', 0, qr/^waiting other_partition 0$/, 'partition 0 waits for it');
put('turns', 1, updated({ id => 2, v => 'moved' }), map { inserted({ id => $_, v => "v$_" }) } 100 .. 60_099);
add_column('turns');
ok_caught_up($node, 'turns', 'the column is there');
is(sql('SELECT count(*) FROM turns'), '60003', 'all is applied');
my $number = sql('SELECT n FROM turns WHERE id = 1');
cmp_ok($number, '<', 20_000, 'the record that waited is tried at commits of the other partition, and not when that has nothing more');
sql(q(SELECT cdc_sink.drop_subscription('turns')));

# --- a backlog behind a record that waits for long
$kafka->create_topic('backlog', 2);
sql(q(CREATE TABLE backlog (id int PRIMARY KEY, v text UNIQUE, body text);
	SELECT cdc_sink.create_subscription('backlog', 'kafka');
	SELECT cdc_sink.add_mapping('backlog', 'backlog', 'backlog')));
put('backlog', 1, inserted({ id => 2, v => 'a' }), inserted({ id => 3, v => 'b', later => 1 }));
wait_for_partition('backlog', 1, qr/^stopped configuration_error 1$/, 'partition 1 stands');
put('backlog', 0, inserted({ id => 5, v => 'first' }), inserted({ id => 1, v => 'a' }));
wait_for_partition('backlog', 0, qr/^waiting other_partition 1$/, 'partition 0 waits');
my $pid = sql('SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription');
sub memory { my ($kbytes) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m; return $kbytes; }
my $before = memory();
# all of it is there when the worker looks again
kill('STOP', $pid);
put('backlog', 0, map { inserted({ id => 1000 + $_, v => "v$_", body => 'x' x 2000 }) } 1 .. 40_000);
kill('CONT', $pid);
# what is held stops growing
my ($last, $same) = (0, 0);
wait_for(sub { my $now = memory(); $same = $now == $last ? $same + 1 : 0; $last = $now; return $same >= 20; }, 'the memory of the worker');
note("$before kB before, $last kB after");
cmp_ok($last - $before, '<', 32 * 1024, "a backlog of 80 MB behind it does not fill the memory of 16 MB, beginning at $before kB");
# partition 2 knows no log and looks at what the others say of the topic
$kafka->add_partitions('backlog', 3);
put('backlog', 2, inserted({ id => 4, v => 'new partition' }));
is(sql("SELECT cdc_sink.wait_for_offset('backlog', 'backlog', 2, 0, '30 s')"), 't', 'a new partition does not wait for the one whose queue is full');
put('backlog', 1, updated({ id => 2, v => 'moved' }));
add_column('backlog');
ok_caught_up($node, 'backlog', 'what was held goes on');
is(sql('SELECT count(*), count(DISTINCT id) FROM backlog'), '40005|40005', 'and nothing is lost');
is(sql('SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription'), $pid, 'by the same worker');

$node->stop('fast');
ok_no_crash($node);
done_testing();
