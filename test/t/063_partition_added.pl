# fault 16: partitions and topics that appear while a subscription runs are read from their beginning, also where it starts at the latest record.
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

my $kafka = CdcSink::Kafka->new;
$kafka->create_topic($_, 1) foreach qw(old quiet);
my $node = new_read_side('partitions');
create_server($node, 'postgres', $kafka->bootstrap);

sub put
{
	my ($topic, $partition, @ids) = @_;
	$kafka->produce($topic, map { { %{ inserted({ id => $_, v => $topic }) }, partition => $partition } } @ids);
	return;
}

sub ids { return $node->safe_psql('postgres', "SELECT string_agg(id::text, ' ' ORDER BY id) FROM $_[0]"); }
sub positions { return $node->safe_psql('postgres', "SELECT string_agg(next_offset::text, ' ' ORDER BY topic, partition) FROM cdc_sink.position WHERE subscription = '$_[0]'"); }

put('old', 0, 1 .. 3);
put('quiet', 0, 1 .. 2);
$node->safe_psql('postgres', join('', map { "CREATE TABLE $_ (id int PRIMARY KEY, v text); CREATE TABLE all_$_ (id int PRIMARY KEY, v text);" } qw(old quiet later)));
foreach my $subscription ([ 'latest', '' ], [ 'earliest', 'all_' ])
{
	my ($name, $prefix) = @$subscription;
	$node->safe_psql('postgres', "SELECT cdc_sink.create_subscription('$name', 'kafka', start_position => '$name');"
		  . join('', map { "SELECT cdc_sink.add_mapping('$name', '$_', '$prefix$_');" } qw(old quiet later)));
	wait_for_state($node, $name, qr/^waiting topic_missing$/);
	is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_catchup('$name', '2 s')"), 'f', "$name: a topic that is missing is not caught up");
}
is(positions('latest'), '3 2', 'latest: the positions are stored, of the topic without new records, too');
put('old', 0, 4, 5);
is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('$_', 'old', 0, 4)"), 't', "$_: records behind the start arrive") foreach qw(latest earliest);
is(ids('old') . ', ' . ids('all_old'), '4 5, 1 2 3 4 5', 'those before it only from earliest');

# --- more partitions, with records in them before anybody looks
$kafka->add_partitions('old', 3);
put('old', 1, 6, 7);
put('old', 2, 8);
foreach my $name (qw(latest earliest))
{
	is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('$name', 'old', $_->[0], $_->[1])"), 't', "$name: partition $_->[0] is found and read from its beginning") foreach [ 1, 1 ], [ 2, 0 ];
}
is(ids('old'), '4 5 6 7 8', 'all its records are there');

# --- the missing topic
$kafka->create_topic('later', 2);
put('later', 0, 1, 2);
put('later', 1, 3);
ok_caught_up($node, $_, "$_: the topic is found") foreach qw(latest earliest);
is(ids('later') . ', ' . ids('all_later'), '1 2 3, 1 2 3', 'and read from its beginning');
wait_for_state($node, $_, qr/^streaming/) foreach qw(latest earliest);

# --- while the server is down
$node->stop('fast');
$kafka->add_partitions('later', 3);
$kafka->add_partitions('quiet', 2);
put('later', 2, 4, 5);
put('quiet', 1, 3);
put('quiet', 0, 4);
$node->start;
ok_caught_up($node, $_, "$_: partitions that came while the server was down") foreach qw(latest earliest);
is(ids('later') . ', ' . ids('quiet'), '1 2 3 4 5, 3 4', 'are read from their beginning, and the others from where they were');
is(ids('all_later') . ', ' . ids('all_quiet'), '1 2 3 4 5, 1 2 3 4', 'so they are from earliest');

# --- asked for with wait_for_catchup just after they came
foreach my $count (4 .. 6)
{
	$kafka->add_partitions('old', $count);
	put('old', $count - 1, 100 + $count);
	ok_caught_up($node, $_, "$_: caught up with $count partitions") foreach qw(latest earliest);
	is($node->safe_psql('postgres', "SELECT count(*) FROM old JOIN all_old USING (id) WHERE id = 100 + $count"), '1', 'includes the new one');
}

$node->stop('fast');
ok_no_crash($node);
done_testing();
