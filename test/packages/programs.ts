/** One package's program as a container runs it. */
export interface Program {
  /** The Debian package. */
  readonly name: string;
  /** Additional packages that the script needs. */
  readonly with?: readonly string[];
  /**
   * For `sh -c`: starts the program, uses it once, ends it. Exit status 0 means that it did its work. `up
   * CMD` waits until CMD succeeds; `$!` serves.
   */
  readonly script: string;
  /** Calls that it tries and can do without, and its fallback. */
  readonly probes?: Readonly<Record<string, string>>;
}

/** Defined before every script. */
export const PRELUDE = `
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8
up() { n=0; until "$@" >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 150 ] || return 1; sleep 0.2; done; }
as() { user=$1; shift; setpriv --reuid="$user" --regid="$user" --clear-groups "$@"; }
stop() { kill "$@" 2>/dev/null; wait; true; }
mkdir -p /run /var/log /var/lib /root; chmod 755 /root; cd /root; set -e
`;

const LIBURING = 'MariaDB falls back to the native AIO of Linux';

/** The filter denies a call that this program makes: the recorder must see it. */
export const CONTROL: Program = { name: 'control', script: '! unshare --user true' };

export const PROGRAMS: readonly Program[] = [
  // Shells and the usual tools of scripts.
  {
    name: 'bash',
    script: `bash -c 'for i in 1 2 3; do echo $((i*i)); done | tail -1; exec 3<<<here; cat <&3; (ulimit -a; trap "echo got" USR1; kill -USR1 $BASHPID) | cat; coproc cat; kill %1 || true'`,
  },
  { name: 'dash', script: `dash -c 'set -m; sleep 0.01 & wait; echo done'` },
  { name: 'zsh', script: `zsh -fc 'zmodload zsh/system zsh/net/tcp; print -l *(N); echo $((2**10))'` },
  { name: 'fish', script: `fish -c 'for i in (seq 3); echo $i; end'` },
  { name: 'ksh93u+m', script: `ksh93 -c 'print $((3.5*2)); sleep 0.01 & wait'` },
  { name: 'tcsh', script: `tcsh -fc 'echo hello | cat'` },
  {
    name: 'busybox',
    script: `busybox sh -c 'busybox httpd -p 8080 -h /etc; n=0; until busybox wget -qO- http://127.0.0.1:8080/hostname >/dev/null || [ $n -gt 50 ]; do n=$((n+1)); sleep 0.1; done; busybox ls -l / | busybox wc -l'`,
  },
  {
    name: 'coreutils',
    script: `mkdir t; touch t/a; cp -a t u; mv u/a u/b; ln -s b u/c; chown 1:1 u/b; chmod 4755 u/b; mkfifo u/f; mknod u/n c 1 3; stat u/b; dd if=/dev/zero of=u/z bs=1M count=4 conv=fsync; sort -R /etc/passwd | sha256sum; df /; du -s u; nice -n 5 true; timeout 1 true; stdbuf -o0 true; rm -r t u; id; date; uname -a; nproc; split -n 2 /etc/passwd; shuf -i 1-3; tail -n1 /etc/group; nohup true`,
  },
  {
    name: 'findutils',
    script: `find /etc -newer /etc/passwd -type f -print0 | xargs -0 -P2 -n1 echo | wc -l`,
  },
  { name: 'grep', script: `grep -rn root /etc/passwd` },
  { name: 'sed', script: `cp /etc/passwd p; sed -i s/root/toor/ p; ! grep -q ^root p` },
  { name: 'gawk', script: `gawk 'BEGIN { "date" | getline d; print d; system("true"); print strftime() }'` },
  { name: 'mawk', script: `mawk -F: '{ n += $3 } END { print n }' /etc/passwd` },
  {
    name: 'tar',
    with: ['gzip', 'bzip2', 'xz-utils', 'zstd'],
    script: `for c in z j J; do tar -c -$c -f x.tar /etc; tar -xp -$c -f x.tar; done; tar --zstd -cf y.tar etc; xz -T2 -c y.tar | xz -dc | sha256sum; zstd -T2 -q y.tar`,
  },
  {
    name: 'util-linux',
    script: `setpriv --reuid=1000 --clear-groups id; flock /tmp/l true; lscpu; setsid true; ionice -c2 true; taskset 1 true; prlimit --nofile; getopt -o a -- -a; uuidgen || true; dmesg >/dev/null || true; logger -s hi 2>/dev/null || true`,
    probes: { syslog: 'dmesg says that it may not read the kernel’s log' },
  },
  {
    name: 'procps',
    script: `ps aux; free; uptime; pgrep sh; vmstat; top -bn1 | head -3; sysctl kernel.hostname`,
  },
  { name: 'tini', script: `tini -s -- sh -c 'sleep 0.01 & wait'` },
  // Network tools.
  {
    name: 'curl',
    with: ['busybox'],
    script: `busybox httpd -p 8080 -h /etc; up curl -fsS http://127.0.0.1:8080/hosts; curl -fsS --http2 http://localhost:8080/hosts`,
  },
  {
    name: 'wget',
    with: ['busybox'],
    script: `busybox httpd -p 8080 -h /etc; up wget -qO- http://localhost:8080/hosts`,
  },
  {
    name: 'git',
    script: `git -c init.defaultBranch=m init r; cd r; git config user.email a@b; git config user.name a; echo 1 > f; git add f; git commit -qm f; git clone -q . ../r2; git gc -q; git daemon --base-path=/root --export-all --reuseaddr --listen=127.0.0.1 & up git ls-remote git://127.0.0.1/r; stop $!`,
  },
  {
    name: 'openssl',
    script: `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out c -days 1 -subj /CN=x; openssl s_server -key k -cert c -port 4433 -www -quiet & up sh -c 'echo | openssl s_client -connect 127.0.0.1:4433'; stop $!; openssl speed -seconds 1 sha256`,
  },
  {
    name: 'gnupg',
    with: ['gpg-agent'],
    script: `mkdir -m700 g; gpg --homedir g --batch --passphrase '' --quick-gen-key a@b ed25519; echo x | gpg --homedir g --batch -s | gpg --homedir g -d; gpgconf --homedir g --kill all`,
  },
  {
    name: 'openssh-server',
    with: ['openssh-client'],
    script: `mkdir -p /run/sshd .ssh; ssh-keygen -qt ed25519 -N '' -f k; cat k.pub > .ssh/authorized_keys; chmod 700 .ssh /root; ssh-keygen -A; cp /usr/share/openssh/sshd_config /etc/ssh/; sed -i 's/UsePAM yes/UsePAM no/' /etc/ssh/sshd_config; /usr/sbin/sshd -D -e -p 2222 & up ssh -i k -p 2222 -o StrictHostKeyChecking=no 127.0.0.1 id; stop $!`,
  },
  {
    name: 'rsync',
    script: `printf '[m]\\npath=/etc\\nuse chroot=yes\\n' > c; rsync --daemon --no-detach --port 8730 --config c & up rsync -a rsync://127.0.0.1:8730/m/hosts h; rsync -a --delete /etc/ e/; stop $!`,
  },
  // Web servers and proxies.
  {
    name: 'nginx-light',
    with: ['curl'],
    script: `ln -sf ../sites-available/default /etc/nginx/sites-enabled/default; echo hi > /var/www/html/index.html; nginx -g 'daemon off; error_log stderr;' & up curl -fsS http://127.0.0.1/; nginx -s reload; sleep 0.2; curl -fsS http://127.0.0.1/ >/dev/null; nginx -s quit; wait`,
  },
  {
    name: 'apache2',
    with: ['curl'],
    script: `. /etc/apache2/envvars; mkdir -p /var/run/apache2 /var/lock/apache2 /var/log/apache2; for m in mpm_event authz_core dir; do ln -sf ../mods-available/$m.load /etc/apache2/mods-enabled/; done; apache2 -DFOREGROUND -c 'ServerName x' & up curl -sS http://127.0.0.1/; stop $!`,
  },
  {
    name: 'lighttpd',
    with: ['curl'],
    script: `mkdir -p w; echo hi > w/i; printf 'server.document-root="/root/w"\\nserver.port=8080\\n' > c; chmod 755 /root; lighttpd -D -f c & up curl -fsS http://127.0.0.1:8080/i; stop $!`,
  },
  {
    name: 'haproxy',
    with: ['curl', 'busybox'],
    script: `busybox httpd -p 8080 -h /etc; printf 'global\\n nbthread 2\\n user haproxy\\n group haproxy\\n chroot /var\\ndefaults\\n mode http\\n timeout client 5s\\n timeout server 5s\\n timeout connect 5s\\nlisten l\\n bind :8081\\n server s 127.0.0.1:8080\\n' > c; haproxy -W -db -f c & up curl -fsS http://127.0.0.1:8081/hosts; stop $!`,
  },
  {
    name: 'caddy',
    with: ['curl'],
    script: `caddy file-server --root /etc --listen :8080 & up curl -fsS http://127.0.0.1:8080/hosts; stop $!`,
  },
  {
    name: 'squid',
    with: ['curl', 'busybox'],
    script: `busybox httpd -p 8080 -h /etc; printf 'http_port 3128\\nhttp_access allow all\\npid_filename none\\naccess_log none\\ncache_log /dev/stderr\\ncache deny all\\ncache_effective_user proxy\\n' > c; squid -N -f c & up curl -fsS -x http://127.0.0.1:3128 http://127.0.0.1:8080/hosts; stop $!`,
  },
  {
    name: 'stunnel4',
    script: `openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 1 -subj /CN=x 2>/dev/null; printf 'foreground=yes\\n[s]\\naccept=4433\\nconnect=4434\\ncert=/root/c\\nkey=/root/k\\n' > f; stunnel4 f & up sh -c 'echo | openssl s_client -connect 127.0.0.1:4433 2>&1 | grep -q CN'; stop $!`,
  },
  // Databases, caches, queues.
  {
    name: 'redis-server',
    with: ['redis-tools'],
    script: `redis-server --save '' --appendonly yes & up redis-cli ping; redis-cli set a b; redis-cli bgsave; redis-cli bgrewriteaof; sleep 0.5; redis-cli shutdown; wait`,
  },
  {
    name: 'memcached',
    with: ['busybox'],
    script: `memcached -u memcache & up sh -c 'echo stats | busybox nc -w1 127.0.0.1 11211 | grep -q pid'; stop $!`,
  },
  {
    name: 'postgresql-15',
    with: ['postgresql-client-15'],
    script: `B=/usr/lib/postgresql/15/bin; mkdir -p /pg /var/run/postgresql; chown postgres /pg /var/run/postgresql; cd /; as postgres $B/initdb -D /pg --no-locale >/dev/null; as postgres $B/postgres -D /pg & up as postgres psql -d postgres -c 'select 1'; as postgres psql -d postgres -c 'create table t as select generate_series(1,10000) i; set max_parallel_workers_per_gather=2; select sum(i) from t' -c 'vacuum full t' -c checkpoint; stop $!`,
  },
  {
    name: 'mariadb-server-core',
    with: ['mariadb-client-core', 'mariadb-server'],
    script: `mkdir -p /db /run/mysqld; chown mysql /db /run/mysqld; mariadb-install-db --user=mysql --datadir=/db --auth-root-authentication-method=normal --skip-test-db >/dev/null; mariadbd --user=mysql --datadir=/db --socket=/run/mysqld/s & up mariadb -S /run/mysqld/s -e 'select 1'; mariadb -S /run/mysqld/s -e 'create database d; create table d.t(i int) engine=innodb; insert into d.t values (1)'; stop $!`,
    probes: { io_uring_setup: LIBURING },
  },
  {
    name: 'sqlite3',
    script: `sqlite3 d 'pragma journal_mode=wal; create table t(i); insert into t values(1); select * from t'`,
  },
  {
    name: 'etcd-server',
    with: ['etcd-client'],
    script: `etcd --data-dir /root/e & up env ETCDCTL_API=3 etcdctl put a b; ETCDCTL_API=3 etcdctl get a; stop $!`,
  },
  {
    name: 'rabbitmq-server',
    script: `cd /; mkdir -p /var/lib/rabbitmq /var/log/rabbitmq; chown -R rabbitmq /var/lib/rabbitmq /var/log/rabbitmq; export RABBITMQ_NODENAME=r@localhost HOME=/var/lib/rabbitmq; R=/usr/lib/rabbitmq/bin; as rabbitmq $R/rabbitmq-server & up as rabbitmq $R/rabbitmqctl -n r@localhost await_startup; as rabbitmq $R/rabbitmqctl -n r@localhost stop; wait || true`,
  },
  {
    name: 'mosquitto',
    with: ['mosquitto-clients'],
    script: `mosquitto -p 1883 & up mosquitto_pub -p 1883 -t a -m b; stop $!`,
  },
  {
    name: 'beanstalkd',
    with: ['busybox'],
    script: `beanstalkd & up sh -c 'printf "stats\\r\\nquit\\r\\n" | busybox nc 127.0.0.1 11300 | grep -q pid'; stop $!`,
  },
  // Name servers, time, and monitoring.
  {
    name: 'dnsmasq-base',
    script: `dnsmasq -k -p 5353 --no-resolv --address=/x.test/1.2.3.4 --user=root & sleep 0.5; kill -0 $!; stop $!`,
  },
  {
    name: 'bind9',
    with: ['bind9-dnsutils'],
    script: `mkdir -p /run/named /var/cache/bind; chown bind /run/named /var/cache/bind; chmod 755 /etc/bind; printf 'options { directory "/var/cache/bind"; listen-on port 5300 { any; }; listen-on-v6 { none; }; recursion no; };\\n' > c; named -g -c /root/c -u bind & up sh -c 'dig +time=1 +tries=1 @127.0.0.1 -p 5300 localhost | grep -q status'; stop $!`,
  },
  {
    name: 'unbound',
    script: `printf 'server:\\n port: 5301\\n username: unbound\\n chroot: ""\\n do-daemonize: no\\n num-threads: 2\\n' > c; unbound -d -c c & sleep 1; kill -0 $!; stop $!`,
  },
  { name: 'cron', script: `cron -f & sleep 0.5; kill -0 $!; stop $!` },
  {
    name: 'prometheus',
    with: ['curl'],
    script: `printf 'global: {}\\n' > c; prometheus --config.file=c --storage.tsdb.path=/root/p & up curl -fsS http://127.0.0.1:9090/-/ready; stop $!`,
  },
  {
    name: 'prometheus-node-exporter',
    with: ['curl'],
    script: `prometheus-node-exporter & up curl -fsS http://127.0.0.1:9100/metrics; stop $!`,
  },
  {
    name: 'docker-registry',
    with: ['curl'],
    script: `printf 'version: 0.1\\nstorage:\\n  filesystem:\\n    rootdirectory: /root/r\\nhttp:\\n  addr: :5000\\n' > c; docker-registry serve c & up curl -fsS http://127.0.0.1:5000/v2/; stop $!`,
  },
  // Languages.
  {
    name: 'python3',
    script: `python3 -c 'import threading, subprocess, socket, asyncio, multiprocessing as m, tempfile, ctypes, mmap, signal, ssl
subprocess.run(["true"], check=True); m.Pool(2).map(abs, [1, -2]); t = threading.Thread(target=print); t.start(); t.join()
async def f():
  p = await asyncio.create_subprocess_exec("true"); await p.wait()
asyncio.run(f()); print(tempfile.mkstemp())'; python3 -m http.server 8080 & up python3 -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:8080").read()'; stop $!`,
  },
  {
    name: 'nodejs',
    script: `node -e 'const h=require("http"),{Worker}=require("worker_threads"),c=require("child_process"),fs=require("fs");c.execSync("true");new Worker("0",{eval:true});fs.watch("/tmp").close();fs.writeFileSync("f","x");fs.copyFileSync("f","g");const s=h.createServer((q,r)=>r.end("hi")).listen(8080,()=>h.get("http://127.0.0.1:8080",r=>{r.resume();r.on("end",()=>s.close())}))'`,
  },
  {
    name: 'openjdk-17-jre-headless',
    script: `J=/usr/lib/jvm/java-17-openjdk-amd64/bin; $J/java -Xshare:off -version; $J/java -XX:+UseG1GC -Xmx256m -cp . -XshowSettings:system -version; $J/jrunscript 2>/dev/null -e 1 || true; $J/keytool -genkeypair -keyalg EC -alias a -dname CN=x -keystore k -storepass changeit; $J/rmiregistry 1099 & sleep 1; kill -0 $!; stop $!`,
  },
  {
    name: 'perl',
    script: `perl -MIO::Socket::INET -MPOSIX -e 'my $s=IO::Socket::INET->new(Listen=>1,LocalAddr=>"127.0.0.1") or die; if (fork) { my $c=$s->accept; wait } else { IO::Socket::INET->new(PeerAddr=>"127.0.0.1",PeerPort=>$s->sockport) } system("true")'`,
  },
  {
    name: 'ruby',
    script: `ruby -rsocket -e 's=TCPServer.new(0); Thread.new{TCPSocket.new("127.0.0.1",s.addr[1])}; s.accept; system("true"); Process.wait(fork{}); GC.compact'`,
  },
  {
    name: 'php-cli',
    with: ['php-fpm', 'curl'],
    script: `echo '<?php echo 1+1;' > i.php; php8.2 -S 127.0.0.1:8080 & up curl -fsS http://127.0.0.1:8080/i.php; stop $!; F=$(ls /usr/sbin/php-fpm8*); mkdir -p /run/php; $F -F -R & sleep 1; kill -0 $!; stop $!`,
  },
  { name: 'lua5.4', script: `lua5.4 -e 'print(io.popen("date"):read("a"), os.time(), os.tmpname())'` },
  {
    name: 'tcl',
    script: `echo 'set s [socket -server {apply {{c a p} {set ::d 1}}} 8090]; socket localhost 8090; vwait d; exec true; puts ok' | tclsh`,
  },
  {
    name: 'guile-3.0',
    script: `guile-3.0 --no-auto-compile -c '(begin (use-modules (ice-9 threads)) (display (par-map 1+ (list 1 2))))' || guile --no-auto-compile -c '(display 1)'`,
  },
  {
    name: 'erlang-base',
    script: `erl -noshell -eval 'io:format("~p", [erlang:system_info(schedulers)]), {ok,S}=gen_tcp:listen(0,[]), os:cmd("true"), halt().'`,
  },
  {
    name: 'golang-go',
    script: `mkdir -p m && cd m && printf 'package main\\nimport ("fmt";"net/http";"os/exec";"time")\\nfunc main(){ go http.ListenAndServe(":8080",nil); exec.Command("true").Run(); time.Sleep(2e8); r,e:=http.Get("http://127.0.0.1:8080"); fmt.Println(r.Status,e) }\\n' > m.go; GO111MODULE=off GOCACHE=/root/gc CGO_ENABLED=0 go run m.go`,
  },
  {
    name: 'gcc',
    with: ['libc6-dev', 'make'],
    script: `printf '#include <stdio.h>\\n#include <pthread.h>\\nvoid *f(void *p){return p;}\\nint main(){pthread_t t; pthread_create(&t,0,f,0); pthread_join(t,0); puts("hi");}\\n' > a.c; printf 'a: a.c\\n\\tgcc -pthread -o a a.c\\n' > Makefile; make -j2; ./a`,
  },
  { name: 'strace', script: `strace -f -o o sh -c true; test -s o` },
  { name: 'jq', script: `echo '{"a":[1,2]}' | jq '.a|add'` },
  { name: 'vim-tiny', script: `vim.tiny -es -u NONE -c 'normal ihello' -c 'wq! f'; test -s f` },
  { name: 'tmux', script: `tmux -L x new-session -d 'sleep 5'; tmux -L x ls; tmux -L x kill-server` },
];
