import type { ChainJob } from '../../calls/chain.types.ts';
import type { CniResult } from '../../spec/result.ts';
import type { DamagedRecords } from './damaged-records.ts';
import { jobOf, specOfResults } from './chained-pods.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { namespaceStands } from '../../namespaces/netns.ts';
import { unknownSandbox } from '../../calls/plugin-errors.ts';
import { heldLinks, isByChain, pluginInterfaceOf } from '../../database/record.ts';
import type { AttachmentRecord, HeldLink } from '../../database/record.ts';
import { addLinks } from '../../links/rules/ruleset.ts';
import type { RulesInForce } from './rules-in-force.ts';
import type { NetworkStore } from '../../database/store.ts';

/** The steps of an attachment before and after chains of plugins run, which another thread does. */
export interface ChainSteps {
  /** Applies the rules to what the plugins created. The attachment is ready then. */
  joined(id: string, results: readonly CniResult[]): AttachmentRecord;
  /**
   * Begins a detach. Returns the job that plugins must undo before `left`. Without a job, the pod is
   * detached.
   */
  leave(id: string): ChainJob | undefined;
  left(id: string): void;
  /** Returns the attachments that plugins created: the unclaimed ones and the claimed ones. */
  jobs(valid: ReadonlySet<string>): {
    readonly unclaimed: readonly ChainJob[];
    readonly claimed: readonly ChainJob[];
  };
  /** Puts the links of plugins into the group of links whose traffic the rules decide. */
  claimMade(spec: AttachmentRecord['spec']): void;
}

export interface ChainStepsDeps {
  readonly store: NetworkStore;
  readonly kernel: HostKernel;
  readonly rules: RulesInForce;
  /** Begins the teardown of what the engine itself created. */
  readonly release: (record: AttachmentRecord) => void;
  readonly damaged: Pick<DamagedRecords, 'discard'>;
}

export function createChainSteps({ store, kernel, rules, release, damaged }: ChainStepsDeps): ChainSteps {
  const joined = (id: string, results: readonly CniResult[]): AttachmentRecord => {
    const record = store.record(id);
    if (record === undefined) throw unknownSandbox(id);
    const spec = specOfResults(id, record.spec, results, kernel);
    const made: AttachmentRecord = { ...record, spec };
    store.setSpec(id, spec);
    const links = madeByChains(spec);
    if (links.length > 0) rules.change(made, addLinks(made, links));
    // A link that our plugins created is in its group from the start. A third-party link was not denied until
    // now, but no process of the pod runs yet that could send.
    claimMade(spec);
    const held = new Set(links.map(({ hostInterface }) => hostInterface));
    for (const link of spec.chains ?? []) {
      const own = pluginInterfaceOf(link.network, id, link.interface);
      if (!held.has(own)) kernel.claim(own, 'plugin');
    }
    store.setState(id, 'ready');
    return { ...made, state: 'ready' };
  };

  const leave = (id: string): ChainJob | undefined => {
    const record = store.record(id);
    if (record?.spec.chains === undefined) {
      if (record === undefined) damaged.discard((each) => each.id === id);
      else release(record);
      return undefined;
    }
    // A link without elements is denied, until its plugins have removed it.
    if (record.state !== 'detaching') close(record);
    store.setState(id, 'detaching');
    store.forgetNames(id);
    return jobOf(record, namespaceStands);
  };

  const left = (id: string): void => {
    const record = store.record(id);
    if (record === undefined) return;
    if (isByChain(record.spec)) return store.remove(id);
    const { chains: _left, further: _gone, ...spec } = record.spec;
    store.setSpec(id, spec);
    release({ ...record, spec });
  };

  const close = (record: AttachmentRecord): void => {
    const links = heldLinks(record.spec);
    if (links.length === 0) return;
    let isDenied = false;
    try {
      isDenied = rules.forget(record);
    } finally {
      if (!isDenied) for (const { hostInterface } of links) kernel.isolate(hostInterface);
    }
  };

  /** Returns the links that the engine did not create itself. */
  const madeByChains = (spec: AttachmentRecord['spec']): readonly HeldLink[] =>
    isByChain(spec) ? heldLinks(spec) : (spec.further ?? []);
  const claimMade = (spec: AttachmentRecord['spec']): void => {
    for (const { hostInterface, bridge } of madeByChains(spec))
      kernel.claim(hostInterface, bridge === undefined ? 'routed' : 'pod');
  };

  return {
    joined,
    leave,
    left,
    claimMade,
    jobs(valid) {
      const made = store.records().filter(({ spec }) => spec.chains !== undefined);
      const jobsOf = (records: readonly AttachmentRecord[]): ChainJob[] =>
        records.map((record) => jobOf(record, namespaceStands));
      return {
        unclaimed: jobsOf(made.filter(({ id }) => !valid.has(id))),
        claimed: jobsOf(made.filter(({ id }) => valid.has(id))),
      };
    },
  };
}
