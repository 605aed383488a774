import { parentPort, workerData } from 'node:worker_threads';
import { readlinkSync } from 'node:fs';
import {
  AF_NETLINK,
  CLONE_NEWUTS,
  O_RDONLY,
  SOCK_RAW,
  bindNetlink,
  closeFd,
  inNamespaces,
  openFile,
  sethostname,
  socket,
  unshare,
} from '../index.ts';

const { pins } = workerData as { pins: string };

const own = (): string => readlinkSync('/proc/thread-self/ns/net');

function codeOf(body: () => unknown): string {
  try {
    body();
    return 'no error';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

// A namespace of this thread alone: a Worker may create one, the main thread may not.
unshare(CLONE_NEWUTS);
sethostname('a-worker');

const net = openFile(`${pins}/net`, O_RDONLY);
const uts = openFile(`${pins}/uts`, O_RDONLY);
const before = own();
const inside = inNamespaces({ net, uts }, own);
const netlink = inNamespaces({ net }, () => {
  const fd = socket(AF_NETLINK, SOCK_RAW, 0);
  bindNetlink(fd);
  return fd;
});
const codes = {
  thrown: codeOf(() =>
    inNamespaces({ net }, () => {
      throw Object.assign(new Error('from the body'), { code: 'BODY' });
    }),
  ),
  promise: codeOf(() => inNamespaces({ net }, () => Promise.resolve())),
  nested: codeOf(() => inNamespaces({ net }, () => inNamespaces({ uts }, own))),
  wrongType: codeOf(() => inNamespaces({ net: uts }, own)),
};
const answer = { before, inside, after: own(), netlink, codes };
export type WindowAnswer = typeof answer;
parentPort?.postMessage(answer);
closeFd(net);
closeFd(uts);
