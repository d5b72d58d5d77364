# A Kafka broker with TLS, logins and, if wanted, ACLs (test/lib/kafka_tls.sh). "localhost" reaches it; its test authority is "ca".
package CdcSink::SecureKafka;

use strict;
use warnings;

use JSON::PP ();
use PostgreSQL::Test::Utils;
use CdcSink::Kafka;
use CdcSink::Process qw(source_dir work_dir);

my $count = 0;

# A started broker. Arguments: libs => directory of Kafka's jars; prepare => shell commands that make certificates in "$2" beside
# the broker's ("server") and a client's ("client"); listeners => [ 'NAME=certificate', ... ]; password of the user "sink";
# properties => text of more settings.
sub new
{
	my ($class, %args) = @_;
	my $dir = work_dir('secure_kafka' . ++$count);
	my $self = bless { dir => $dir, libs => $args{libs} // CdcSink::Kafka::pipeline_dir() . '/libs', %args }, $class;
	my $prepare = $args{prepare} // '';
	$self->{script} = <<"BASH";
set -e
. "\$1/test/lib/kafka_tls.sh"
if [ ! -e "\$2/ca.crt" ]; then
	kafka_tls_ca "\$2"
	for name in server client; do kafka_tls_cert "\$2" \$name DNS:localhost,IP:127.0.0.1; done
	$prepare
fi
trap 'kill \$KAFKA_TLS_PID; wait \$KAFKA_TLS_PID' TERM
kafka_tls_start "\$2" server @{[ join(' ', @{ $args{listeners} // [] }) ]}
touch "\$2/up"
wait \$KAFKA_TLS_PID
BASH
	$self->start;
	$self->{port} = { slurp_file("$dir/ports") =~ /^KAFKA_TLS_(\w+)=(\d+)$/mg };
	return $self;
}

sub start
{
	my ($self, $password) = @_;
	local $ENV{KAFKA_LIBS} = $self->{libs};
	local $ENV{KAFKA_TLS_PASSWORD} = $self->{password} = $password // $self->{password} // 'sink-secret';
	local $ENV{KAFKA_TLS_PROPERTIES} = $self->{properties} // '';
	unlink("$self->{dir}/up");
	$self->{broker} = CdcSink::Process->new(
		name => 'Kafka with TLS',
		log => "$self->{dir}/log",
		command => [ 'bash', '-c', $self->{script}, 'bash', source_dir(), $self->{dir} ]);
	$self->{broker}->wait_until_ready(sub { -e "$self->{dir}/up" });
	return;
}

# Stops the broker; its ports and data stay.
sub stop { my $self = shift; $self->{broker}->stop; return; }

sub dir { return $_[0]->{dir}; }

# "localhost:port" of a listener: PLAINTEXT, SSL, SASL_SSL, SASL_PLAINTEXT or one of the test's own.
sub address { my ($self, $listener) = @_; return "localhost:$self->{port}{$listener}"; }

# Runs one of Kafka's administration programs, as the super user.
sub admin
{
	my ($self, $class, @args) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'java', '-Xmx128m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', "$self->{libs}/*", $class,
			'--bootstrap-server', $self->address('PLAINTEXT'), @args ], '<', \'', '>', \$out, '2>', \$err)
	  or die "$class @args: $out$err\n";
	return $out;
}

# Writes records of CdcSink::Events, past every login.
sub produce
{
	my ($self, $topic, @records) = @_;
	my $input = join('', map { "$_->{key}\t$_->{value}\n" } @records);
	IPC::Run::run([ 'kcat', '-P', '-b', $self->address('PLAINTEXT'), '-t', $topic, '-K', "\t" ], '<', \$input) or die "produce to $topic failed\n";
	return;
}

1;
