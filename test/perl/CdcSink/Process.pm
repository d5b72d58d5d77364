# Child processes of a test: started with a log, ended by their own id when the test ends, however it ends.
package CdcSink::Process;

use strict;
use warnings;

use Exporter 'import';
use POSIX ();
use Time::HiRes qw(usleep time);

our @EXPORT_OK = qw(wait_for source_dir work_dir);

# every process started here and not ended yet, by id
my %running;
my $owner = $$;

# The checkout, and a directory of this test's own.
sub source_dir
{
	return $ENV{CDC_SINK_SOURCE} if $ENV{CDC_SINK_SOURCE};
	require Cwd;
	require File::Basename;
	return Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../../..');
}

sub work_dir
{
	my $name = shift;
	my $dir = ($PostgreSQL::Test::Utils::tmp_check || '/tmp') . "/$name";
	mkdir $dir or -d $dir or die "could not make $dir: $!";
	return $dir;
}

# Waits until a condition holds, and dies with what was waited for when it does not.
sub wait_for
{
	my ($condition, $what, $timeout) = @_;
	$timeout //= $PostgreSQL::Test::Utils::timeout_default // 120;
	my $end = time() + $timeout;
	while (1)
	{
		my $result = $condition->();
		return $result if $result;
		die "$what: not within $timeout s\n" if time() > $end;
		usleep(50_000);
	}
}

# Starts a command; the kernel ends it should this test be killed.
sub new
{
	my ($class, %args) = @_;
	my $self = bless { name => $args{name}, log => $args{log} }, $class;
	my $pid = fork() // die "could not fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', $args{log}) or POSIX::_exit(127);
		open(STDERR, '>&', \*STDOUT);
		exec 'setpriv', '--pdeathsig', 'KILL', @{ $args{command} } or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	$running{$pid} = $self;
	return $self;
}

sub alive
{
	my $self = shift;
	return 0 unless $running{ $self->{pid} };
	return 1 if waitpid($self->{pid}, POSIX::WNOHANG()) == 0;
	delete $running{ $self->{pid} };
	return 0;
}

# Waits until a condition holds; a process that ended meanwhile ends the wait, with the end of its log.
sub wait_until_ready
{
	my ($self, $condition, $timeout) = @_;
	wait_for(
		sub {
			die "$self->{name} ended while starting:\n" . $self->log_tail unless $self->alive;
			return $condition->();
		},
		"start of $self->{name}",
		$timeout);
	return;
}

sub log_tail
{
	my $self = shift;
	open(my $f, '<', $self->{log}) or return "no log: $!";
	my @lines = <$f>;
	splice(@lines, 0, -30) if @lines > 30;
	return join('', @lines);
}

# Ends the process with a signal (TERM) and waits for it; KILL when it does not go.
sub stop
{
	my ($self, $signal) = @_;
	return unless $self->alive;
	kill($signal // 'TERM', $self->{pid});
	my $end = time() + 30;
	while ($self->alive)
	{
		kill('KILL', $self->{pid}) if time() > $end;
		usleep(20_000);
	}
	return;
}

END
{
	# a forked child of the test runs this block too, and owns nothing
	if ($$ == $owner)
	{
		my $code = $?;
		$_->stop for values %running;
		$? = $code;
	}
}

1;
