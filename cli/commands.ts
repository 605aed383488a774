import type { Command } from 'commander';

/**
 * An entry of the command list. Help needs this list only: a command's module is loaded when that command
 * runs.
 */
interface Entry {
  readonly name: string;
  readonly summary: string;
  /** The command runs on Linux with the pinned Node only. */
  readonly needsKernel?: true;
  readonly load: () => Promise<{ register(program: Command, commands: readonly Entry[]): void }>;
}

export const commands: readonly Entry[] = [
  {
    name: 'quickstart',
    summary: 'run a demonstration of the whole flow with an embedded registry',
    needsKernel: true,
    load: () => import('./quickstart.ts'),
  },
  {
    name: 'doctor',
    summary: 'check this machine, and report what is missing or degraded, and why',
    needsKernel: true,
    load: () => import('./doctor.ts'),
  },
  {
    name: 'setup',
    summary: 'prepare this machine for the daemon: policy, network, key pair and configuration',
    needsKernel: true,
    load: () => import('./setup.ts'),
  },
  {
    name: 'daemon',
    summary: 'serve the CRI endpoint (portcullisd)',
    needsKernel: true,
    load: () => import('./daemon.ts'),
  },
  {
    name: 'proxy',
    summary: 'verify images in front of containerd or CRI-O',
    load: () => import('./proxy.ts'),
  },
  {
    name: 'config',
    summary: 'convert the configuration of another runtime to one for Portcullis',
    load: () => import('./config.ts'),
  },
  {
    name: 'policy',
    summary: 'write, check, explain, test, simulate, import, export, publish and follow trust policies',
    load: () => import('./policy.ts'),
  },
  {
    name: 'sign',
    summary: 'sign an image with a key, a token or an identity, as cosign and notation do, or make a key',
    load: () => import('./sign.ts'),
  },
  {
    name: 'attest',
    summary: 'sign a statement about an image: where it comes from, what is in it, what it needs',
    load: () => import('./attest.ts'),
  },
  {
    name: 'verify',
    summary: 'decide whether an image may run, and say why',
    load: () => import('./verify.ts'),
  },
  {
    name: 'admit',
    summary: 'decide about many images at once, for a pipeline, and write reports',
    load: () => import('./admit.ts'),
  },
  {
    name: 'sigstore-verify-bundle',
    summary: "verify a file's sigstore bundle; speaks sigstore's client conformance protocol",
    load: () => import('./sigstore-verify-bundle.ts'),
  },
  {
    name: 'sigstore-sign-bundle',
    summary: "sign a file with an OIDC identity; speaks sigstore's client conformance protocol",
    load: () => import('./sigstore-sign-bundle.ts'),
  },
  {
    name: 'sigstore-root',
    summary: 'keep the trusted roots of sigstore instances up to date',
    load: () => import('./sigstore-root.ts'),
  },
  {
    name: 'tuf-client',
    summary: 'fetch from a TUF repository; speaks the TUF client conformance protocol',
    load: () => import('./tuf-client.ts'),
  },
  {
    name: 'trust',
    summary: 'run the trust service, and manage signed collections, which map tags to digests',
    load: () => import('./trust.ts'),
  },
  {
    name: 'verdicts',
    summary: 'the verdict log: list, show, replay, verify, export',
    load: () => import('./verdicts.ts'),
  },
  {
    name: 'fleet',
    summary: 'the aggregator: verdicts, alerts and state of many nodes in one place',
    load: () => import('./fleet.ts'),
  },
  {
    name: 'webhook',
    summary: 'run the admission webhook of Kubernetes, which refuses images before they reach a node',
    load: () => import('./webhook.ts'),
  },
  {
    name: 'node',
    summary:
      'manage the declared state and the image of this node, and groups of nodes: apply, serve, status, diff, group, image',
    needsKernel: true,
    load: () => import('./node.ts'),
  },
  {
    name: 'entitlements',
    summary: 'write, check, explain, compare, merge, import and export profiles: what a workload may do',
    load: () => import('./entitlements.ts'),
  },
  {
    name: 'spec',
    summary: 'generate and validate OCI runtime configurations (config.json)',
    load: () => import('./spec.ts'),
  },
  {
    name: 'cni',
    summary: 'install the CNI plugins of Portcullis for other runtimes, and report their state',
    needsKernel: true,
    load: () => import('./cni.ts'),
  },
  {
    name: 'network',
    summary: 'the networks of pods: list, create, inspect, remove, collect orphaned resources',
    needsKernel: true,
    load: () => import('./network.ts'),
  },
  {
    name: 'service',
    summary: 'load-balanced virtual addresses: apply, list, drain, remove',
    needsKernel: true,
    load: () => import('./service.ts'),
  },
  {
    name: 'explain-denial',
    summary: 'explain what allows or denies a connection of a pod, and how to allow it',
    needsKernel: true,
    load: () => import('./explain-denial.ts'),
  },
  {
    name: 'images',
    summary:
      'list, pull, inspect, copy, compare, push, export, import, check, repair, prune and remove images',
    load: () => import('./images.ts'),
  },
  { name: 'pods', summary: 'list pods', load: () => import('./pods.ts') },
  { name: 'ps', summary: 'list containers', load: () => import('./ps.ts') },
  { name: 'logs', summary: "print a container's log", load: () => import('./logs.ts') },
  {
    name: 'events',
    summary: 'follow new events of pods and containers',
    load: () => import('./events.ts'),
  },
  {
    name: 'exec',
    summary: 'run a command in a container; exits with the exit code of the command',
    load: () => import('./exec.ts'),
  },
  {
    name: 'completion',
    summary: 'print a script that completes commands, options and their values in a shell',
    load: () => import('./completion.ts'),
  },
];
