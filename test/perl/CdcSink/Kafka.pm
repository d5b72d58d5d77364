# A Kafka broker (KRaft, its own controller) and Kafka Connect with Debezium, from the jars of scripts/lib/jars.py.
package CdcSink::Kafka;

use strict;
use warnings;

use HTTP::Tiny;
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use CdcSink::Process qw(wait_for source_dir work_dir);

my $count = 0;
my $login_setting = 'listener.name.login.plain.sasl.jaas.config';

# Directory with libs/ and plugins/; brought on first use when the test was started by hand.
sub pipeline_dir
{
	return $ENV{CDC_SINK_PIPELINE} if $ENV{CDC_SINK_PIPELINE};
	my $dir = qx{'@{[source_dir()]}/scripts/lib/jars.py'};
	die "scripts/lib/jars.py failed\n" if $? != 0;
	chomp $dir;
	return $ENV{CDC_SINK_PIPELINE} = $dir;
}

sub java
{
	my ($dir, $heap, $main, @args) = @_;
	append_to_file("$dir/log4j2.properties", <<'LOG') unless -e "$dir/log4j2.properties";
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
LOG
	return ('java', "-Xmx$heap", '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', "-Dlog4j2.configurationFile=$dir/log4j2.properties",
		'-cp', pipeline_dir() . '/libs/*', $main, @args);
}

sub write_properties
{
	my ($file, %values) = @_;
	append_to_file($file, join('', map { "$_=$values{$_}\n" } sort keys %values));
	return;
}

# A started broker, a cluster of its own. Arguments are further broker settings; login => { name => password } makes a second listener, login(), where one has to
# say who one is (PLAIN).
# port => where another broker was before.
sub new
{
	my ($class, %properties) = @_;
	my $dir = work_dir('kafka' . ++$count);
	my $port = delete $properties{port} // PostgreSQL::Test::Cluster::get_free_port();
	my $controller = PostgreSQL::Test::Cluster::get_free_port();
	my $self = bless { dir => $dir, port => $port, bootstrap => "127.0.0.1:$port" }, $class;
	my $logins = delete $properties{login};
	my ($listen, $protocols) = ('', '');
	if ($logins)
	{
		$self->{login} = '127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port();
		($listen, $protocols) = (",LOGIN://$self->{login}", ',LOGIN:SASL_PLAINTEXT');
		$properties{'sasl.enabled.mechanisms'} = 'PLAIN';
		$properties{$login_setting} = jaas(%$logins);
	}
	write_properties(
		"$dir/server.properties",
		'process.roles' => 'broker,controller',
		'node.id' => 1,
		'controller.quorum.voters' => "1\@127.0.0.1:$controller",
		'controller.listener.names' => 'CONTROLLER',
		'listeners' => "PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller$listen",
		'advertised.listeners' => "PLAINTEXT://127.0.0.1:$port$listen",
		'inter.broker.listener.name' => 'PLAINTEXT',
		'listener.security.protocol.map' => "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT$protocols",
		'log.dirs' => "$dir/data",
		'offsets.topic.replication.factor' => 1,
		'offsets.topic.num.partitions' => 1,
		'transaction.state.log.replication.factor' => 1,
		'transaction.state.log.min.isr' => 1,
		'transaction.state.log.num.partitions' => 1,
		'group.initial.rebalance.delay.ms' => 0,
		%properties);
	# 16 bytes as Kafka writes them; it refuses a leading dash
	my $cluster = encode_base64(pack('C*', 65, map { int(rand(256)) } 1 .. 15), '');
	$cluster =~ tr{+/=}{-_}d;
	system_or_bail(java($dir, '256m', 'kafka.tools.StorageTool', 'format', '-t', $cluster, '-c', "$dir/server.properties"));
	$self->start;
	return $self;
}

sub bootstrap { return $_[0]->{bootstrap}; }
sub login { return $_[0]->{login}; }

sub jaas
{
	my %logins = @_;
	return 'org.apache.kafka.common.security.plain.PlainLoginModule required ' . join(' ', map { qq(user_$_="$logins{$_}") } sort keys %logins) . ';';
}

# Who may log in from now on: the broker reads that when it starts.
sub set_logins
{
	my ($self, %logins) = @_;
	my $text = slurp_file("$self->{dir}/server.properties") =~ s/^\Q$login_setting\E=.*$/"$login_setting=" . jaas(%logins)/mer;
	unlink "$self->{dir}/server.properties";
	append_to_file("$self->{dir}/server.properties", $text);
	$self->restart;
	return;
}
# Bytes a second that each client may read; 0: no limit.
sub set_quota { my ($self, $rate) = @_; system_or_bail($self->tool('quota', $rate)); return; }

sub start
{
	my $self = shift;
	$self->{broker} = CdcSink::Process->new(
		name => 'Kafka',
		log => "$self->{dir}/log",
		command => [ java($self->{dir}, '600m', 'kafka.Kafka', "$self->{dir}/server.properties") ]);
	$self->{broker}->wait_until_ready(sub { system("kcat -b $self->{bootstrap} -L -m 2 >/dev/null 2>&1") == 0 });
	return;
}

# Stops the broker; its port and data stay. KILL is a crash.
sub stop { my ($self, $signal) = @_; $self->{broker}->stop($signal); return; }
sub restart { my ($self, $signal) = @_; $self->stop($signal); $self->start; return; }

# While the broker is stopped: cuts a partition's log behind its first so many batches, as a crash that lost them would.
sub cut_log
{
	my ($self, $topic, $partition, $batches) = @_;
	my $dir = "$self->{dir}/data/$topic-$partition";
	my ($log) = glob("$dir/*.log");
	my $bytes = slurp_file($log);
	my $size = 0;
	# base offset (8), length of what follows (4)
	$size += 12 + unpack('N', substr($bytes, $size + 8, 4)) foreach 1 .. $batches;
	die "$log is too short\n" if $size >= length($bytes);
	truncate($log, $size) or die "$log: $!";
	unlink(glob("$dir/*.index"), glob("$dir/*.timeindex"), glob("$dir/*.snapshot"), "$self->{dir}/data/.kafka_cleanshutdown");
	return;
}

# The python that has confluent_kafka: the system's, as the package belongs to it.
sub tool
{
	my ($self, @args) = @_;
	my ($python) = grep { system("$_ -c 'import confluent_kafka' 2>/dev/null") == 0 } ('/usr/bin/python3', 'python3');
	die "no python3 with confluent_kafka here (package python3-confluent-kafka)\n" unless $python;
	return ($python, source_dir() . '/test/tools/kafka-tool', '-b', $self->{bootstrap}, @args);
}

sub create_topic { my ($self, @args) = @_; system_or_bail($self->tool('topic', @args)); return; }
sub add_partitions { my ($self, $topic, $count) = @_; system_or_bail($self->tool('partitions', $topic, $count)); return; }
sub deny { my ($self, @acl) = @_; system_or_bail($self->tool('deny', @acl)); return; }
sub allow { my ($self, @acl) = @_; system_or_bail($self->tool('allow', @acl)); return; }

# Settings of a broker that denies what deny() names, and allows all else.
sub authorizer
{
	return (
		'authorizer.class.name' => 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
		'allow.everyone.if.no.acl.found' => 'true');
}

# What is committed to a group: "partition offset metadata", a line for each partition of the topic.
sub offsets
{
	my ($self, $group, $topic, $partitions) = @_;
	IPC::Run::run([ $self->tool('offsets', $group, $topic, $partitions) ], '>', \my $out) or die "offsets of $group failed\n";
	chomp $out;
	return $out;
}

# Records of a topic, each a hash as produce takes them.
sub records
{
	my ($self, $topic) = @_;
	IPC::Run::run([ $self->tool('records', $topic) ], '>', \my $out) or die "reading $topic failed\n";
	return map { decode_json($_) } split /\n/, $out;
}

sub drop_topic { my ($self, @names) = @_; system_or_bail($self->tool('drop-topic', @names)); return; }
sub delete_records { my ($self, @args) = @_; system_or_bail($self->tool('delete-records', @args)); return; }
sub port { return $_[0]->{port}; }

# Writes a recorded stream; topics get the prefix. Options as those of kafka-tool.
sub load_stream
{
	my ($self, $name, $prefix, @options) = @_;
	system_or_bail($self->tool('load', source_dir() . "/test/fixtures/streams/$name/events.jsonl", '--prefix', $prefix, @options));
	return;
}

# Writes records, each a hash with key, value and, if wanted, partition, headers, ts.
sub produce
{
	my ($self, $topic, @records) = @_;
	$self->_write([ 'produce', $topic ], @records);
	return;
}

sub _write
{
	my ($self, $verb, @records) = @_;
	my $json = JSON::PP->new->canonical;
	my $input = join('', map { $json->encode($_) . "\n" } @records);
	IPC::Run::run([ $self->tool(@$verb) ], '<', \$input, '>', \my $out) or die "@$verb failed\n";
	return;
}

# Drops a topic if it is there, makes it anew with a number of partitions and writes records to it, as fast as can be.
sub recreate_topic
{
	my ($self, $topic, $partitions, @records) = @_;
	$self->_write([ 'recreate', $topic, $partitions ], @records);
	return;
}

# Number of records a topic holds, as a consumer of committed transactions counts them.
sub count_records
{
	my ($self, $topic) = @_;
	my $out = qx{kcat -b $self->{bootstrap} -C -t '$topic' -e -q -f '.\n' 2>/dev/null};
	return () = $out =~ /\./g;
}

# Starts Kafka Connect on this broker.
sub start_connect
{
	my $self = shift;
	my $dir = work_dir("connect$count");
	$self->{connect_port} = PostgreSQL::Test::Cluster::get_free_port();
	my $converter = 'org.apache.kafka.connect.json.JsonConverter';
	write_properties(
		"$dir/worker.properties",
		'bootstrap.servers' => $self->{bootstrap},
		'key.converter' => $converter,
		'value.converter' => $converter,
		'offset.storage.file.filename' => "$dir/offsets",
		'offset.flush.interval.ms' => 1000,
		'plugin.path' => pipeline_dir() . '/plugins',
		'plugin.discovery' => 'service_load',
		'listeners' => "http://127.0.0.1:$self->{connect_port}");
	$self->{connect} = CdcSink::Process->new(
		name => 'Kafka Connect',
		log => "$dir/log",
		command => [ java($dir, '800m', 'org.apache.kafka.connect.cli.ConnectStandalone', "$dir/worker.properties") ]);
	$self->{connect}->wait_until_ready(sub { $self->rest('GET', '/connectors')->{success} });
	return;
}

sub rest
{
	my ($self, $method, $path, $body) = @_;
	my %options = (headers => { 'content-type' => 'application/json' });
	$options{content} = encode_json($body) if $body;
	return HTTP::Tiny->new(timeout => 60)->request($method, "http://127.0.0.1:$self->{connect_port}$path", \%options);
}

# Registers a Debezium connector that reads the tables of a writer, and waits until it streams from its slot.
sub add_connector
{
	my ($self, $name, $writer, %config) = @_;
	my $answer = $self->rest(
		'PUT',
		"/connectors/$name/config",
		{
			'connector.class' => 'io.debezium.connector.postgresql.PostgresConnector',
			'plugin.name' => 'pgoutput',
			'database.hostname' => '127.0.0.1',
			'database.port' => $writer->port . '',
			'database.user' => $writer->{cdc_superuser},
			'database.password' => 'unused',
			'database.dbname' => 'postgres',
			'topic.prefix' => $name,
			'slot.name' => $name,
			'publication.name' => $name,
			'publication.autocreate.mode' => 'filtered',
			%config
		});
	die "connector $name: $answer->{status} $answer->{content}\n" unless $answer->{success};
	wait_for(
		sub {
			my $status = $self->rest('GET', "/connectors/$name/status");
			die "connector $name failed: $status->{content}\n" if $status->{success} && $status->{content} =~ /"FAILED"/;
			return $writer->safe_psql('postgres', "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '$name' AND active") eq '1';
		},
		"connector $name streams");
	return;
}

# Removes a connector and its slot.
sub remove_connector
{
	my ($self, $name, $writer) = @_;
	$self->rest('DELETE', "/connectors/$name");
	$writer->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name = '$name' AND active")
	  or die "the slot $name stays active\n";
	$writer->safe_psql('postgres', "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '$name'");
	return;
}

1;
