# What must be in the tables after a fault, in Jepsen's words: of what was produced nothing lost, duplicate, reordered or unseen.
package CdcSink::Oracle;

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::Node;

# A topic of a broker (CdcSink::Kafka or ::MockBroker), and on a read side two subscriptions to it: "rows" keeps the latest version of each
# id, "log" every record with its partition and offset. Options: server (kafka), partitions (2), topic (items), options (SQL of both
# subscriptions), settings (of the topic).
sub new
{
	my ($class, $node, $broker, %options) = @_;
	my $self = bless { node => $node, broker => $broker, topic => 'items', partitions => 2, server => 'kafka', options => '{}', settings => [], %options }, $class;
	my $topic = $self->{topic};
	$self->{produced} = [ map { [] } 1 .. $self->{partitions} ];
	$self->{next} = 0;
	$broker->create_topic($topic, $self->{partitions}, @{ $self->{settings} });
	$node->safe_psql('postgres', <<SQL);
CREATE TABLE ${topic}_rows (id int PRIMARY KEY, n int, v text);
CREATE TABLE ${topic}_log (seen bigint GENERATED ALWAYS AS IDENTITY, n int, __partition int, __offset bigint);
SELECT cdc_sink.create_subscription('${topic}_rows', '$self->{server}', options => '$self->{options}');
SELECT cdc_sink.add_mapping('${topic}_rows', '$topic', '${topic}_rows');
SELECT cdc_sink.create_subscription('${topic}_log', '$self->{server}', options => '$self->{options}');
SELECT cdc_sink.add_mapping('${topic}_log', '$topic', '${topic}_log', columns => '{"id": null, "v": null}', options => '{"mode": "append"}');
SQL
	return $self;
}

sub subscriptions { my $self = shift; return map { "$self->{topic}_$_" } qw(rows log); }

# Writes so many records, of so many bytes each, to each partition. They are numbered; every id comes again and again.
sub produce
{
	my ($self, $count, $size) = @_;
	foreach my $partition (0 .. $self->{partitions} - 1)
	{
		my @records;
		foreach (1 .. $count)
		{
			my $n = ++$self->{next};
			my $row = { id => ($n % 50) * $self->{partitions} + $partition, n => $n, v => 'v' x ($size // 10) };
			push @{ $self->{produced}[$partition] }, $n;
			$self->{latest}{ $row->{id} } = $n;
			push @records, { %{ updated($row) }, partition => $partition };
		}
		ref($self->{broker}) =~ /Mock/ ? $self->{broker}->produce($self->{topic}, $partition, @records) : $self->{broker}->produce($self->{topic}, @records);
	}
	return;
}

# How many records the log table holds.
sub seen { my $self = shift; return $self->{node}->safe_psql('postgres', "SELECT count(*) FROM $self->{topic}_log"); }

# Waits until all is applied, by itself, and compares tables and positions with what was produced.
sub ok_clean
{
	my ($self, $title) = @_;
	my ($node, $topic) = @$self{qw(node topic)};
	ok_caught_up($node, $_, "$title: $_ caught up without help") foreach $self->subscriptions;
	my @counts = (0, 0, 0, 0);
	foreach my $partition (0 .. $self->{partitions} - 1)
	{
		my @want = @{ $self->{produced}[$partition] };
		my %seen;
		my $last = -1;
		foreach (split /\n/, $node->safe_psql('postgres', "SELECT n, __offset FROM ${topic}_log WHERE __partition = $partition ORDER BY seen"))
		{
			my ($n, $offset) = split /\|/;
			$counts[1]++ if $seen{$n}++;
			# a record at an offset that another one has, is as wrong as one that comes too late
			$counts[2]++ if $offset <= $last or ($want[$offset] // -1) != $n;
			$last = $offset;
		}
		$counts[0] += grep { !$seen{$_} } @want;
		my $next = $node->safe_psql('postgres', "SELECT min(next_offset) FROM cdc_sink.position WHERE topic = '$topic' AND partition = $partition");
		$counts[3] += @want - ($next || 0);
	}
	is(join(' ', map { (qw(lost duplicate reordered unseen))[$_] . " $counts[$_]" } 0 .. 3), 'lost 0 duplicate 0 reordered 0 unseen 0', "$title: each record once and in order");
	is_text($node->safe_psql('postgres', "SELECT id, n FROM ${topic}_rows ORDER BY id"), join("\n", map { "$_|$self->{latest}{$_}" } sort { $a <=> $b } keys %{ $self->{latest} }),
		"$title: the latest version of each row");
	return;
}

1;
