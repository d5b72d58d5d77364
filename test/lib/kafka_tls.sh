# Shell functions: a Kafka broker with TLS and SASL, for tests. To be sourced (bash).
#
#   kafka_tls_ca DIR [NAME]                  an authority: DIR/NAME.crt and .key (default: ca)
#   kafka_tls_cert DIR NAME SAN [DAYS] [CA]  a certificate signed by it: DIR/NAME.crt, .key and .pem (both);
#                                            SAN as openssl writes it: DNS:localhost,IP:127.0.0.1; DAYS 0: expired,
#                                            future: not yet valid
#   kafka_tls_start DIR [CERT [NAME=CERT]..] starts a broker in DIR with certificate CERT (default: server) on free ports;
#                                            sets KAFKA_TLS_PID and the ports KAFKA_TLS_PLAINTEXT, KAFKA_TLS_SSL (asks for
#                                            a client certificate), KAFKA_TLS_SASL_SSL and KAFKA_TLS_SASL_PLAINTEXT
#                                            (PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512), and of a listener NAME with TLS and
#                                            a certificate of its own for each NAME=CERT
#   kafka_tls_stop DIR                       stops it; its data stays in DIR
#
# Logins are sink / $KAFKA_TLS_PASSWORD. KAFKA_LIBS names the directory of Kafka's jars, KAFKA_TLS_PROPERTIES holds more settings.

KAFKA_TLS_USER=sink
KAFKA_TLS_PASSWORD=${KAFKA_TLS_PASSWORD:-sink-secret}

kafka_tls_ca() {
    local dir=$1 name=${2:-ca}
    mkdir -p "$dir"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=test $name" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign,cRLSign \
        -keyout "$dir/$name.key" -out "$dir/$name.crt" 2> "$dir/$name.log" || { cat "$dir/$name.log" >&2; return 1; }
}

kafka_tls_cert() {
    local dir=$1 name=$2 san=$3 days=${4:-365} ca=${5:-ca}
    {
        openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout "$dir/$name.key" -out "$dir/$name.csr" &&
            printf 'subjectAltName=%s\n' "$san" > "$dir/$name.ext" &&
            if [ "$days" = future ]; then
                kafka_tls_dated "$dir" "$name" "$ca" 20900101000000Z 20900102000000Z
            elif [ "$days" -gt 0 ]; then
                openssl x509 -req -in "$dir/$name.csr" -CA "$dir/$ca.crt" -CAkey "$dir/$ca.key" -CAcreateserial \
                    -days "$days" -extfile "$dir/$name.ext" -out "$dir/$name.crt"
            else
                kafka_tls_dated "$dir" "$name" "$ca" 20200101000000Z 20200102000000Z
            fi
    } > "$dir/$name.log" 2>&1 || { cat "$dir/$name.log" >&2; return 1; }
    cat "$dir/$name.key" "$dir/$name.crt" > "$dir/$name.pem"
    chmod 600 "$dir/$name.key" "$dir/$name.pem"
}

# A certificate of another time: "openssl x509" of OpenSSL 3.0 cannot date it so, "openssl ca" can.
kafka_tls_dated() {
    local dir=$1 name=$2 ca=$3 start=$4 end=$5
    : > "$dir/$name.index"
    rm -rf "$dir/$name.new"; mkdir "$dir/$name.new"
    cat > "$dir/$name.cnf" <<CNF
[ca]
default_ca = d
[d]
database = $dir/$name.index
new_certs_dir = $dir/$name.new
rand_serial = yes
default_md = sha256
policy = p
[p]
commonName = supplied
CNF
    openssl ca -batch -config "$dir/$name.cnf" -in "$dir/$name.csr" -cert "$dir/$ca.crt" -keyfile "$dir/$ca.key" \
        -startdate "$start" -enddate "$end" -notext -extfile "$dir/$name.ext" -out "$dir/$name.crt"
}

kafka_tls_free_ports() {
    python3 - "$1" <<'PY'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])
PY
}

kafka_tls_properties() {
    local dir=$1 cert=$2 listener more map= listeners= advertised= port
    shift 2
    for more in "$@"; do
        port=KAFKA_TLS_${more%%=*}
        map=$map,${more%%=*}:SSL
        listeners=$listeners,${more%%=*}://127.0.0.1:${!port}
        advertised=$advertised,${more%%=*}://localhost:${!port}
    done
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$KAFKA_TLS_CONTROLLER
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT$map
listeners=CONTROLLER://127.0.0.1:$KAFKA_TLS_CONTROLLER,PLAINTEXT://127.0.0.1:$KAFKA_TLS_PLAINTEXT,SSL://127.0.0.1:$KAFKA_TLS_SSL,SASL_SSL://127.0.0.1:$KAFKA_TLS_SASL_SSL,SASL_PLAINTEXT://127.0.0.1:$KAFKA_TLS_SASL_PLAINTEXT$listeners
advertised.listeners=PLAINTEXT://localhost:$KAFKA_TLS_PLAINTEXT,SSL://localhost:$KAFKA_TLS_SSL,SASL_SSL://localhost:$KAFKA_TLS_SASL_SSL,SASL_PLAINTEXT://localhost:$KAFKA_TLS_SASL_PLAINTEXT$advertised
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
ssl.keystore.type=PEM
ssl.keystore.location=$dir/$cert.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/ca.crt
listener.name.ssl.ssl.client.auth=required
listener.name.sasl_ssl.ssl.client.auth=none
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
$KAFKA_TLS_PROPERTIES
PROPERTIES
    for more in "$@"; do
        listener=$(echo "${more%%=*}" | tr A-Z a-z)
        printf 'listener.name.%s.ssl.keystore.type=PEM\nlistener.name.%s.ssl.keystore.location=%s\n' \
            "$listener" "$listener" "$dir/${more#*=}.pem"
    done
    for listener in sasl_ssl sasl_plaintext; do
        cat <<PROPERTIES
listener.name.$listener.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_$KAFKA_TLS_USER="$KAFKA_TLS_PASSWORD";
listener.name.$listener.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.$listener.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
PROPERTIES
    done
}

kafka_tls_start() {
    local dir=$1 cert=${2:-server} i names ports
    shift $(($# < 2 ? $# : 2))
    if [ ! -d "$dir/data" ]; then
        names=(CONTROLLER PLAINTEXT SSL SASL_SSL SASL_PLAINTEXT "${@%%=*}")
        read -r -a ports <<< "$(kafka_tls_free_ports ${#names[@]})"
        for i in "${!names[@]}"; do printf 'KAFKA_TLS_%s=%s\n' "${names[i]}" "${ports[i]}"; done > "$dir/ports"
    fi
    # a broker that is started again keeps its ports
    . "$dir/ports"
    kafka_tls_properties "$dir" "$cert" "$@" > "$dir/server.properties"
    if [ ! -d "$dir/data" ]; then
        java -cp "$KAFKA_LIBS/*" kafka.tools.StorageTool format -c "$dir/server.properties" \
            -t "$(java -cp "$KAFKA_LIBS/*" kafka.tools.StorageTool random-uuid 2> /dev/null)" \
            --add-scram "SCRAM-SHA-256=[name=$KAFKA_TLS_USER,password=$KAFKA_TLS_PASSWORD]" \
            --add-scram "SCRAM-SHA-512=[name=$KAFKA_TLS_USER,password=$KAFKA_TLS_PASSWORD]" > "$dir/format.log" 2>&1 ||
            { cat "$dir/format.log" >&2; return 1; }
    fi
    java -Xmx384m -cp "$KAFKA_LIBS/*" kafka.Kafka "$dir/server.properties" > "$dir/kafka.log" 2>&1 &
    KAFKA_TLS_PID=$!
    echo "$KAFKA_TLS_PID" > "$dir/pid"
    for ((i = 0; i < 120; i++)); do
        (exec 3<> "/dev/tcp/127.0.0.1/$KAFKA_TLS_SASL_PLAINTEXT") 2> /dev/null && return 0
        kill -0 "$KAFKA_TLS_PID" 2> /dev/null || break
        sleep 0.5
    done
    tail -20 "$dir/kafka.log" >&2
    return 1
}

kafka_tls_stop() {
    local pid
    pid=$(cat "$1/pid") || return 0
    kill "$pid" 2> /dev/null
    while kill -0 "$pid" 2> /dev/null; do sleep 0.1; done
    rm -f "$1/pid"
}
