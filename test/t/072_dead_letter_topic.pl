# Dead letters are published to the subscription's dead_letter_topic after the commit, at least once, and hold nothing up.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use CdcSink::Events;
use CdcSink::Kafka;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);

my $kafka = CdcSink::Kafka->new(CdcSink::Kafka::authorizer(), 'auto.create.topics.enable' => 'false');
my $node = new_read_side('letters', "restart_after_crash = on\n");
create_server($node, 'postgres', $kafka->bootstrap);
my $json = JSON::PP->new->canonical;
my %made = (kills => 0, stops => 0);

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub row { return { id => $_[0], n => $_[1] }; }
sub unpublished { return sql('SELECT count(*) FROM cdc_sink.dead_letter WHERE unpublished'); }

sub wait_until_published
{
	eval { wait_for(sub { unpublished() == 0 }, 'all dead letters published') } or die $@ . show_views($node) . sql('SELECT id, "offset", unpublished, published_at FROM cdc_sink.dead_letter');
	return;
}

# What a topic of dead letters holds, by topic and offset of the original: how many records.
sub published
{
	my %count;
	foreach my $record ($kafka->records($_[0]))
	{
		my %headers = map { @$_ } @{ $record->{headers} };
		$count{"$headers{'__connect.errors.topic'} $headers{'__connect.errors.offset'}"}++;
	}
	return %count;
}

$kafka->create_topic('rows', 1);
$kafka->create_topic('dlq', 1);
sql(q(CREATE TABLE rows (id int PRIMARY KEY, n int CHECK (n >= 0));
	SELECT cdc_sink.create_subscription('s', 'kafka', options => '{"on_error": "dead_letter", "dead_letter_topic": "dlq"}');
	SELECT cdc_sink.add_mapping('s', 'rows', 'rows')));

# --- bytes, headers, description
my $ts = 1_700_000_000_123;
my $bad = inserted(row(2, 'no number'));
$kafka->produce('rows',
	inserted(row(1, 1)),
	{ %$bad, ts => $ts, headers => [ [ 'plain', 'text' ], [ 'bytes', { b64 => 'gP8A' } ], [ 'nothing', undef ], [ 'plain', 'again' ] ] },
	{ key => { b64 => '/wD+' }, value => 'no JSON', ts => $ts },
	inserted(row(4, -1)),
	inserted(row(5, 5)));
ok_caught_up($node, 's', 'bad records do not stop their partition');
wait_until_published();
is(sql('SELECT id FROM rows ORDER BY id'), "1\n5", 'those around them are applied');
is(sql('SELECT count(*), count(published_at) FROM cdc_sink.dead_letter'), '3|3', 'the table knows when each was published');
my @records = $kafka->records('dlq');
is(scalar(@records), 3, 'each bad record is published once');
is($json->encode([ @{ $records[0] }{qw(key value)} ]), $json->encode([ @{$bad}{qw(key value)} ]), 'key and value are the bytes of the original');
is($json->encode([ @{ $records[1] }{qw(key value)} ]), '[{"b64":"/wD+"},"no JSON"]', 'of any original');
is($records[0]{ts}, $ts, 'the time is that of the original');
is($json->encode([ @{ $records[0]{headers} }[ 0 .. 3 ] ]), '[["plain","text"],["bytes",{"b64":"gP8A"}],["nothing",null],["plain","again"]]', 'its own headers come first');
my @letters = split /\n/, sql(q(SELECT concat_ws('|', id, sqlstate, status, message) FROM cdc_sink.dead_letter ORDER BY id));
foreach my $i (0 .. 2)
{
	my %headers = map { @$_ } grep { $_->[0] =~ /^__/ } @{ $records[$i]{headers} };
	my $context = delete $headers{'__connect.errors.exception.stacktrace'};
	my ($id, $sqlstate, $status, $message) = split /\|/, $letters[$i], 4;
	my %want = (
		'__connect.errors.topic' => 'rows',
		'__connect.errors.partition' => '0',
		'__connect.errors.offset' => $i + 1,
		'__connect.errors.connector.name' => 's',
		'__connect.errors.task.id' => '0',
		'__connect.errors.stage' => $i == 1 ? 'VALUE_CONVERTER' : 'TASK_PUT',
		'__connect.errors.class.name' => $sqlstate,
		'__connect.errors.exception.class.name' => $sqlstate,
		'__connect.errors.exception.message' => $message,
		'__cdc_sink.dead_letter.id' => $id,
		'__cdc_sink.dead_letter.status' => 'open',
		'__cdc_sink.dead_letter.relation' => 'public.rows');
	is_deeply(\%headers, \%want, "headers of record $i tell what happened, as Kafka Connect's do");
	like($context, qr/^record of topic "rows", partition 0, offset @{[$i + 1]}/, 'and where');
}

# --- skipped ones, and those that fail again
sql("SELECT cdc_sink.skip_record('s', 'rows', 0, 5, 'not wanted')");
$kafka->produce('rows', inserted(row(6, 6)));
ok_caught_up($node, 's', 'a record is skipped');
wait_until_published();
is({ map { @$_ } @{ ($kafka->records('dlq'))[3]{headers} } }->{'__cdc_sink.dead_letter.status'}, 'skipped', 'it is published as what it is');
sql("SELECT cdc_sink.disable_subscription('s'); SELECT cdc_sink.set_position('s', 'rows', 0, '3'); SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($node, 's', 'a record fails again');
wait_until_published();
my %count = published('dlq');
is("$count{'rows 1'} $count{'rows 2'} $count{'rows 3'} $count{'rows 5'}", '1 1 2 1', 'it is published again, the others are not');
my ($code, $out, $err) = $node->psql('postgres', "SELECT cdc_sink.add_mapping('s', 'dlq', 'rows')");
like($err, qr/cannot be mapped and be dead_letter_topic/, 'its own dead letters cannot be read by a subscription');
($code, $out, $err) = $node->psql('postgres', q(SELECT cdc_sink.alter_subscription('s', options => '{"dead_letter_topic": "rows"}')));
like($err, qr/cannot be mapped and be dead_letter_topic/, 'nor written where it reads');

# --- what cannot be published waits, and holds nothing up
my $log = -s $node->logfile;
$kafka->create_topic('closed', 1);
$kafka->deny('topic', 'closed', 'WRITE');
sql(q(SELECT cdc_sink.alter_subscription('s', options => '{"dead_letter_topic": "closed"}')));
$kafka->produce('rows', inserted(row(7, -7)), inserted(row(8, 8)));
ok_caught_up($node, 's', 'without the right to write, records are applied all the same');
$node->poll_query_until('postgres', q(SELECT state = 'streaming' AND hint ~ 'wait to be published to topic "closed".*uthorization' FROM cdc_sink.pg_stat_cdc_sink_subscription))
  or die "no hint:\n" . show_views($node);
pass('the view tells');
like(slurp_file($node->logfile, $log), qr/could not publish dead letters of subscription "s" to topic "closed": .*uthorization/, 'and the log');
sql('SELECT cdc_sink.resolve_dead_letter(ARRAY(SELECT id FROM cdc_sink.dead_letter WHERE unpublished), NULL)');
is(sql("SELECT cdc_sink.purge_dead_letter('-1 day') > 0"), 't', 'what is closed and published is purged');
is(unpublished(), 1, 'what is closed and not published stays');
$kafka->allow('topic', 'closed', 'WRITE');
wait_until_published();
%count = published('closed');
is(join(' ', %count), 'rows 6 1', 'when the right is there, it is published by itself') or diag(explain(\%count));
sql(q(SELECT cdc_sink.purge_dead_letter('-1 day'); SELECT cdc_sink.alter_subscription('s', options => '{"dead_letter_topic": "dlq2"}')));

# --- a topic that does not exist yet
$kafka->produce('rows', inserted(row(9, -9)));
ok_caught_up($node, 's', 'without the topic, too');
$node->poll_query_until('postgres', q(SELECT hint ~ 'wait to be published to topic "dlq2"' FROM cdc_sink.pg_stat_cdc_sink_subscription)) or die "no hint:\n" . show_views($node);
is(unpublished(), 1, 'a dead letter waits for its topic');
$kafka->create_topic('dlq2', 3);
wait_until_published();

# --- a letter that somebody has locked
my $session = $node->background_psql('postgres');
sql('UPDATE cdc_sink.dead_letter SET unpublished = true WHERE "offset" = 8');
$session->query('BEGIN; SELECT FROM cdc_sink.dead_letter WHERE "offset" = 8 FOR UPDATE');
$kafka->produce('rows', inserted(row(10, 'bad')), inserted(row(11, 11)));
ok_caught_up($node, 's', 'a lock on a letter does not hold records up');
wait_for(sub { unpublished() == 1 }, 'the one without lock is marked');
pass('nor other letters');
$session->query('COMMIT');
$session->quit;
wait_until_published();
%count = published('dlq2');
is($count{'rows 8'}, 2, 'the locked one was published once more, and only once');

# --- the broker is away
sql(q(SELECT cdc_sink.alter_subscription('s', options => '{"dead_letter_topic": "dlq"}')));
$kafka->produce('rows', inserted(row(12, 'bad')));
$kafka->stop('KILL');
my $start = time();
sql("SELECT cdc_sink.disable_subscription('s')");
cmp_ok(time() - $start, '<', 5, 'the worker ends in time');
sql("SELECT cdc_sink.enable_subscription('s')");
wait_for_state($node, 's', qr/^retrying broker_down$/);
$kafka->start;
ok_caught_up($node, 's', 'the broker is back');
wait_until_published();

# --- at least once, whatever falls between commit and delivery, and few of them twice
my @bad;
my $next = 20;
my $first = sql('SELECT next_offset FROM cdc_sink.position');
my $offset = $first;
my $letters = "SELECT count(*) FROM cdc_sink.dead_letter WHERE \"offset\" >= $first";
foreach my $fault (qw(kill TERM stop kill TERM))
{
	my $before = sql($letters);
	my @more = map { $offset++ % 3 ? (push(@bad, $offset - 1), inserted(row($next++, 'bad')))[1] : inserted(row($next++, 1)) } 1 .. 1500;
	$kafka->produce('rows', @more);
	wait_for(sub { sql($letters) > $before }, 'dead letters come');
	my $pid = sql('SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription');
	if ($fault eq 'stop')
	{
		$node->stop('immediate');
		$made{stops}++;
		$node->start;
	}
	elsif ($pid && kill($fault eq 'kill' ? 'KILL' : 'TERM', $pid) && $fault eq 'kill')
	{
		my $kills = ++$made{kills};
		wait_for(sub { (() = slurp_file($node->logfile) =~ /reinitializing/g) >= $kills }, 'the server starts anew');
	}
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
	note("after $fault " . unpublished() . ' are not published yet');
}
ok_caught_up($node, 's', 'caught up without help');
wait_until_published();
%count = published('dlq');
is(join(' ', grep { !$count{"rows $_"} } @bad), '', 'no dead letter is missing in the topic');
cmp_ok(scalar(grep { $_ =~ /rows (\d+)/ && $1 >= $first } keys %count), '==', scalar(@bad), 'nothing else is there');
note((grep { ($count{"rows $_"} // 0) > 1 } @bad) . ' of ' . @bad . ' are there more than once');

# --- several workers: each publishes what it wrote
$kafka->create_topic('wide', 4);
$kafka->create_topic('wide_dlq', 2);
sql(q(CREATE TABLE wide (id int PRIMARY KEY, n int);
	SELECT cdc_sink.create_subscription('w', 'kafka', options => '{"on_error": "dead_letter", "dead_letter_topic": "wide_dlq", "workers": 3}');
	SELECT cdc_sink.add_mapping('w', 'wide', 'wide')));
$kafka->produce('wide', map { { %{ inserted(row($_, $_ % 2 ? 'bad' : 1)) }, partition => $_ % 8 >> 1 } } 1 .. 400);
ok_caught_up($node, 'w', 'several workers');
wait_until_published();
is(scalar($kafka->records('wide_dlq')), 200, 'publish each letter once');

# --- by hand
sql("SELECT cdc_sink.disable_subscription('w')");
$kafka->produce('wide', { %{ inserted(row(1001, 'bad')) }, partition => 1 });
sql("CALL cdc_sink.run_batches('w')");
is(unpublished(), 0, 'run_batches publishes');
is(scalar($kafka->records('wide_dlq')), 201, 'what it could not apply');

# --- records that follow each other have their own headers, however alike
my @alike = (
	[ [ 'a', '1' ], [ 'b', '2' ] ],
	[ [ 'a', '1' ], [ 'b', '2' ] ],
	[ [ 'a', '1' ], [ 'b', '3' ] ],
	[ [ 'a', '1' ], [ 'c', '3' ] ],
	[ [ 'a', '1' ] ],
	undef,
	[ [ 'a', '1' ] ],
	[ [ 'a', '' ] ],
	[ [ 'a', undef ] ],
	[ [ 'a', '' ] ]);
$kafka->create_topic('alike', 1);
sql(q(CREATE TABLE alike (id int PRIMARY KEY, n int CHECK (n >= 0));
	SELECT cdc_sink.create_subscription('alike', 'kafka', options => '{"on_error": "dead_letter"}');
	SELECT cdc_sink.add_mapping('alike', 'alike', 'alike')));
$kafka->produce('alike', map { { %{ inserted(row($_, -1)) }, $alike[$_] ? (headers => $alike[$_]) : () } } 0 .. $#alike);
ok_caught_up($node, 'alike', 'records with headers are parked');
is(sql(q(SELECT string_agg(coalesce((SELECT string_agg((h ->> 'name') || '=' || coalesce(h ->> 'value', 'null'), ' ') FROM jsonb_array_elements(headers) h), 'none'), '; ' ORDER BY "offset")
	FROM cdc_sink.dead_letter WHERE subscription = 'alike')), 'a=1 b=2; a=1 b=2; a=1 b=3; a=1 c=3; a=1; none; a=1; a=; a=null; a=', 'each with its own');

$node->stop('fast');
ok_no_crash($node, %made);
done_testing();
