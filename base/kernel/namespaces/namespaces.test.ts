import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import {
  CLONE_NEWNET,
  MSG_DONTWAIT,
  closeFd,
  inNamespaces,
  recv,
  send,
  sethostname,
  setns,
  startKernelWorker,
  unshare,
} from '../index.ts';
import type { WindowAnswer } from './window.fixture.ts';
import { temporaryFolder } from '../temporary.fixture.ts';

/** The network namespaces of all threads of this process. */
function threadNamespaces(): Set<string> {
  const namespaceOf = (task: string): string[] => {
    try {
      return [readlinkSync(`/proc/self/task/${task}/ns/net`)];
    } catch (error) {
      // The thread of a finished Worker has just ended.
      assert.equal((error as { code?: unknown }).code, 'ENOENT');
      return [];
    }
  };
  return new Set(readdirSync('/proc/self/task').flatMap(namespaceOf));
}

/** Interface names that a bound netlink socket sees: RTM_GETLINK as a dump. */
function links(fd: number): string[] {
  const request = Buffer.alloc(32);
  request.writeUInt32LE(32, 0);
  request.writeUInt16LE(18, 4);
  request.writeUInt16LE(0x301, 6);
  send(fd, request);
  const buffer = Buffer.alloc(65536);
  const length = recv(fd, buffer, MSG_DONTWAIT);
  const names: string[] = [];
  for (let message = 0; message < length; message += buffer.readUInt32LE(message)) {
    const end = message + buffer.readUInt32LE(message);
    // nlmsghdr 16 bytes, ifinfomsg 16 bytes, attributes { len u16, type u16, value } at multiples of 4;
    // IFLA_IFNAME is 3
    for (let at = message + 32; at + 4 <= end; at += (buffer.readUInt16LE(at) + 3) & ~3) {
      if (buffer.readUInt16LE(at + 2) === 3)
        names.push(buffer.toString('utf8', at + 4, at + buffer.readUInt16LE(at) - 1));
    }
  }
  return names;
}

test('the main thread cannot enter namespaces', () => {
  assert.throws(() => inNamespaces({ net: 0 }, () => 0), { code: 'KERNEL_EPERM' });
  assert.throws(() => unshare(CLONE_NEWNET), { code: 'KERNEL_EPERM' });
  assert.throws(() => setns(0, 0), { code: 'KERNEL_EPERM' });
  assert.throws(() => sethostname('x'), { code: 'KERNEL_EPERM' });
});

test('two Workers enter namespaces at once and return, and their sockets stay inside', async (t) => {
  const pins = `${temporaryFolder(t)}/pins`;
  const host = hostname();
  const kernel = await startKernelWorker();
  await kernel.pinNamespaces({ dir: pins, types: ['net', 'uts'], sysctls: {} });
  try {
    // On some kernels every new namespace has its own tunnels in addition to lo.
    const listed = execFileSync('nsenter', [`--net=${pins}/net`, 'ls', '/proc/sys/net/ipv4/conf'])
      .toString()
      .trim()
      .split('\n');
    const podLinks = listed.filter((name) => name !== 'all' && name !== 'default').sort();
    const url = new URL('./window.fixture.ts', import.meta.url);
    const workers = [1, 2].map(() => new Worker(url, { workerData: { pins } }));
    const answers = await Promise.all(workers.map((worker) => once(worker, 'message')));
    for (const [answer] of answers) {
      const { before, inside, after, netlink, codes } = answer as WindowAnswer;
      assert.equal(before, readlinkSync('/proc/self/ns/net'));
      assert.equal(after, before);
      assert.notEqual(inside, before);
      assert.deepEqual(codes, {
        thrown: 'BODY',
        promise: 'KERNEL_EINVAL',
        nested: 'KERNEL_EBUSY',
        wrongType: 'KERNEL_EINVAL',
      });
      // The socket was created in the window and is used from the main thread: it sees the pod's links, not
      // the host's.
      assert.deepEqual(links(netlink).sort(), podLinks);
      closeFd(netlink);
    }
    assert.deepEqual([...threadNamespaces()], [readlinkSync('/proc/self/ns/net')]);
    assert.equal(hostname(), host);
    assert.equal(execFileSync('hostname').toString().trim(), host);
  } finally {
    await kernel.unpinNamespaces(pins);
    await kernel.close();
  }
});

test('a thread that cannot leave a namespace aborts the process', () => {
  const module = new URL('../index.ts', import.meta.url).href;
  // The script prevents the return by closing every descriptor of the thread's own namespaces.
  const script = `
    import { closeFd, inNamespaces, openFile } from ${JSON.stringify(module)};
    import { readdirSync, readlinkSync } from 'node:fs';
    const net = openFile('/proc/self/ns/net', 0);
    inNamespaces({ net }, () => {
      for (const fd of readdirSync('/proc/self/fd').map(Number)) {
        let target = '';
        try { target = readlinkSync('/proc/self/fd/' + fd); } catch {}
        if (fd !== net && target.startsWith('net:')) closeFd(fd);
      }
    });`;
  const program = `
    import { Worker } from 'node:worker_threads';
    new Worker(new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(script)})));`;
  const result = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8', timeout: 20_000 });
  assert.equal(result.signal, 'SIGABRT');
  assert.match(result.stderr, /could not leave the namespaces net: aborting/);
});
