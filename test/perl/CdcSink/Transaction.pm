# A transactional producer as test/tools/kafka-transaction has it.
package CdcSink::Transaction;

use strict;
use warnings;

use IPC::Open2 qw(open2);
use CdcSink::Process qw(source_dir work_dir);

sub new
{
	my ($class, $kafka, $id) = @_;
	my ($python) = $kafka->tool;
	my $pid = open2(my $out, my $in, 'setpriv', '--pdeathsig', 'KILL', $python, source_dir() . '/test/tools/kafka-transaction', '-b', $kafka->bootstrap, $id);
	(readline($out) // '') eq "ok\n" or die 'the transactional producer did not start';
	return bless { in => $in, out => $out }, $class;
}

sub order
{
	my ($self, @words) = @_;
	print { $self->{in} } join(' ', @words) . "\n";
	$self->{in}->flush;
	my $answer = readline($self->{out}) // 'it ended';
	die "transactional producer: @words: $answer" if $answer ne "ok\n";
	return;
}

# Writes records of CdcSink::Events as part of the open transaction.
sub put
{
	my ($self, $topic, $partition, @records) = @_;
	my $file = work_dir('producer') . '/records';
	open(my $f, '>', $file) or die "$file: $!";
	print $f "$_->{key}\t$_->{value}\n" foreach @records;
	close($f);
	$self->order('produce', $topic, $partition, $file);
	return;
}

# A whole transaction that ends so: commit or abort.
sub transaction
{
	my ($self, $end, @put) = @_;
	$self->order('begin');
	$self->put(@put);
	$self->order($end);
	return;
}

1;
