# librdkafka's mock broker in a process of its own (test/mockbroker): up in no time, and down on command.
package CdcSink::MockBroker;

use strict;
use warnings;

use IPC::Open2 qw(open2);
use PostgreSQL::Test::Utils;
use CdcSink::Process qw(source_dir work_dir);

my $count = 0;

# A started cluster, of one broker if nothing is said; it ends with the test, as its input ends then.
sub new
{
	my ($class, $brokers) = @_;
	my $program = source_dir() . '/test/mockbroker';
	system_or_bail('make', '-s', '-C', $program) unless -x "$program/build/mockbroker";
	my $self = bless { file => work_dir('mockbroker') . '/records' . ++$count }, $class;
	$self->{pid} = open2($self->{out}, $self->{in}, 'setpriv', '--pdeathsig', 'KILL', "$program/build/mockbroker", $brokers // 1);
	my $ready = readline($self->{out}) // '';
	$ready =~ /^ready (\S+)$/ or die "the mock broker did not start: $ready\n";
	$self->{bootstrap} = $1;
	return $self;
}

sub bootstrap { return $_[0]->{bootstrap}; }

# One command as test/mockbroker/mockbroker.c lists them.
sub command
{
	my ($self, @words) = @_;
	print { $self->{in} } join(' ', @words) . "\n";
	$self->{in}->flush;
	my $answer = readline($self->{out}) // 'it ended';
	die "mock broker: @words: $answer" if $answer ne "ok\n";
	return;
}

sub create_topic { my ($self, $topic, @counts) = @_; $self->command('create', $topic, @counts); return; }
sub down { $_[0]->command('down'); return; }
sub up { $_[0]->command('up'); return; }

# Writes records of CdcSink::Events to a partition.
sub produce
{
	my ($self, $topic, $partition, @records) = @_;
	open(my $f, '>', $self->{file}) or die "$self->{file}: $!";
	print $f join("\t", $_->{key} // '-', $_->{value} // '-') . "\n" foreach @records;
	close($f);
	$self->command('produce_file', $topic, $partition, $self->{file});
	return;
}

1;
