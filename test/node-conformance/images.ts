import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { makeCertificate } from '../fixtures/certificate.ts';
import { busyboxLayer, layerOf, sha256 } from '../fixtures/image.ts';
import type { Entry, ImageSource, Layer } from '../fixtures/image.ts';
import type { Publisher } from '../fixtures/publisher.ts';
import { findTool } from '../fixtures/tools.ts';

const user = 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n';
const group = 'root:x:0:\nnobody:x:65534:\n';
const path = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'];

/** Answers on port 80 under the name nginx. Its process id is where nginx has it. */
const webServer = `#!/bin/bash
trap 'kill $!; exit 0' TERM INT QUIT
echo $$ > /var/run/nginx.pid
/bin/busybox httpd -f -p 80 -h /www &
wait $!
`;

/**
 * A spec expects the messages of BusyBox's shell, and another that the shell keeps variables whose names are
 * not names of shell variables. Debian's build drops such variables, so bash takes its place for them.
 */
const shell = `#!/bin/bash-static
while IFS= read -rd '' variable; do
  case \${variable%%=*} in *[!A-Za-z0-9_]*) exec -a "$0" /bin/bash-static "$@" ;; esac
done </proc/self/environ
exec -a "$0" /bin/ash "$@"
`;

/** BusyBox has a command that prints the time with milliseconds. Debian's build of BusyBox lacks it. */
const nmeter = `#!/bin/bash-static
now=$EPOCHREALTIME
TZ=UTC printf '%(%T)T.%s\\n' "\${now%.*}" "\${now:(-6):3}"
`;

/** Pushes every image that the specs pull, under the names that the specs use, and signs it. */
export async function publishImages({ publish }: Publisher, folder: string): Promise<number> {
  const program = (name: string): Uint8Array => readFileSync(findTool(name).path);
  const image = imageOn([await busyboxLayer(), toolsLayer(), await systemLayer()]);
  const agnhost = image({ Entrypoint: ['/agnhost'], Cmd: ['pause'] }, await agnhostLayer(folder));
  const onAgnhost = imageOn(agnhost.layers ?? []);
  const page = async (name: string): Promise<ImageSource> =>
    onAgnhost(
      { Entrypoint: ['/agnhost'], Cmd: ['test-webserver'] },
      await layerOf([
        { name: 'data.json', body: `{ "image": "${name}.jpg" }\n` },
        { name: `${name}.jpg`, body: `a ${name}\n` },
      ]),
    );
  const nginx = image(
    { Cmd: ['nginx'] },
    await layerOf([{ name: 'usr/sbin/nginx', mode: 0o755, body: webServer }]),
  );
  const images: Readonly<Record<string, ImageSource>> = {
    'agnhost:2.55': agnhost,
    'agnhost:2.63.0': agnhost,
    'busybox:1.37.0-1': image(),
    'glibc-dns-testing:2.0.0': image(),
    'ipc-utils:1.4': image(),
    'kitten:1.8': await page('kitten'),
    'nautilus:1.8': await page('nautilus'),
    'nginx:1.15-4': nginx,
    'nginx:1.27-0': nginx,
    'nonewprivs:1.4': image(
      { Cmd: ['nnp'] },
      await layerOf([{ name: 'usr/local/bin/nnp', mode: 0o6755, body: program('nonewprivs') }]),
    ),
    'nonroot:1.5': image({ User: '1234' }),
  };
  for (const [name, source] of Object.entries(images)) await publish(`e2e-test-images/${name}`, source);
  await publish('pause:3.10.2', {
    base: false,
    layers: [await layerOf([{ name: 'pause', mode: 0o755, body: program('pause') }])],
    config: { Env: path, Cmd: undefined, Entrypoint: ['/pause'], User: '65535:65535' },
  });
  return Object.keys(images).length + 1;
}

/** Returns a function that makes images on these layers. */
const imageOn =
  (common: readonly Layer[]) =>
  (config: ImageSource['config'] = {}, ...layers: readonly Layer[]): ImageSource => ({
    base: false,
    layers: [...common, ...layers],
    config: { Env: path, Cmd: ['/bin/sh'], ...config },
  });

/** Debian's bash, curl, dig, nc, ss, ipcs and hostname, with their libraries. */
function toolsLayer(): Layer {
  const tar = execFileSync(findTool('agnhost-tools').path, { maxBuffer: 2 ** 28 });
  return { blob: gzipSync(tar, { level: 1 }), diffId: sha256(tar) };
}

function systemLayer(): Promise<Layer> {
  const folders = ['home', 'mnt', 'usr/local', 'usr/local/bin', 'uploads', 'var', 'var/log', 'var/run'];
  return layerOf([
    ...folders.map((name): Entry => ({ name: `${name}/`, type: 'directory' })),
    { name: 'bin/sh', mode: 0o755, body: shell },
    // The shell of busybox-static runs its own commands instead of those in PATH.
    { name: 'bin/ash', mode: 0o755, body: readFileSync(findTool('busybox-sh').path) },
    { name: 'bin/bash', type: 'symlink', linkname: 'bash-static' },
    { name: 'usr/bin/nmeter', mode: 0o755, body: nmeter },
    { name: 'etc/passwd', body: user },
    { name: 'etc/group', body: group },
    // A spec expects this name. The image that it is written for is Alpine's.
    { name: 'etc/os-release', body: 'NAME="Alpine Linux"\nID=alpine\n' },
  ]);
}

async function agnhostLayer(folder: string): Promise<Layer> {
  const { key, certificate } = makeCertificate(folder, 'localhost');
  return layerOf([
    { name: 'agnhost', mode: 0o755, body: readFileSync(findTool('agnhost').path) },
    { name: 'agnhost-2', type: 'symlink', linkname: 'agnhost' },
    { name: 'coredns', mode: 0o755, body: readFileSync(findTool('coredns').path) },
    { name: 'localhost.crt', body: readFileSync(certificate) },
    { name: 'localhost.key', body: readFileSync(key) },
    {
      name: 'etc/passwd',
      body: `${user}user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n`,
    },
    {
      name: 'etc/group',
      body: `${group}user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n`,
    },
  ]);
}
