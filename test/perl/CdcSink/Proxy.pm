# A TCP proxy in front of brokers that breaks the way, or what comes over it, on command (test/tools/fault-proxy).
package CdcSink::Proxy;

use strict;
use warnings;

use IPC::Open2 qw(open2);
use CdcSink::Process qw(source_dir);

# A started proxy for a broker's "host:port,..."; it ends with the test, as its input ends then. Options as of the program.
sub new
{
	my ($class, $brokers, @options) = @_;
	my $self = bless {}, $class;
	$self->{pid} = open2($self->{out}, $self->{in}, 'setpriv', '--pdeathsig', 'KILL', source_dir() . '/test/tools/fault-proxy', @options, $brokers);
	my $ready = readline($self->{out}) // '';
	$ready =~ /^ready (\S+)$/ or die "the proxy did not start: $ready\n";
	$self->{bootstrap} = $1;
	return $self;
}

sub bootstrap { return $_[0]->{bootstrap}; }

# One command as test/tools/fault-proxy lists them; returns what stands behind its "ok".
sub command
{
	my ($self, @words) = @_;
	print { $self->{in} } join(' ', @words) . "\n";
	$self->{in}->flush;
	my $answer = readline($self->{out}) // 'it ended';
	$answer =~ /^ok ?(.*)$/ or die "fault proxy: @words: $answer";
	return $1;
}

# Connections of clients so far.
sub connections { return (split / /, $_[0]->command('stats'))[0]; }

# Connections of clients that are open now.
sub open_connections { return (split / /, $_[0]->command('stats'))[1]; }

1;
