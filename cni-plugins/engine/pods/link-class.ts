import type { Logger } from '../../../base/log/index.ts';
import { policyPodOf } from '../../policy/index.ts';
import type { LinkClass, LinkRules } from '../../types.ts';
import { notHeld } from './chained-pods.ts';
import type { Teardown } from './teardown.ts';
import { unknownSandbox } from '../../calls/plugin-errors.ts';
import { hasUnheldLink, heldLinks } from '../../database/record.ts';
import type { AttachmentRecord } from '../../database/record.ts';
import { changeClass } from '../../links/rules/ruleset.ts';
import type { RulesInForce } from './rules-in-force.ts';
import type { NetworkStore } from '../../database/store.ts';

export interface LinkClassDeps {
  readonly store: NetworkStore;
  readonly rules: RulesInForce;
  readonly teardown: Pick<Teardown, 'renewPorts'>;
  readonly log: Pick<Logger, 'warn'>;
}

/**
 * Returns the operation that opens or closes a pod's links: the class and the peer rules are recorded first,
 * then the kernel gets them.
 */
export function createClassChange({
  store,
  rules,
  teardown,
  log,
}: LinkClassDeps): (id: string, linkClass: LinkClass, asked: LinkRules) => AttachmentRecord {
  const setClass = (id: string, linkClass: LinkClass, asked: LinkRules): AttachmentRecord => {
    const record = store.record(id);
    if (record?.state !== 'ready') throw unknownSandbox(id);
    refuseUnheld(record, linkClass, asked);
    if (heldLinks(record.spec).length === 0) {
      store.setClass(id, linkClass, asked);
      return { ...record, class: linkClass, rules: asked };
    }
    const changed: AttachmentRecord = { ...record, class: linkClass, rules: asked };
    // Until the kernel accepts the change, it has the previous state. The next change, of any pod, must not
    // remove the peer rules that apply to this pod.
    const keepPeers = rules.policy.keep();
    const ofPeers = rules.ofPeers(changed);
    const orKept = (act: () => void): void => {
      try {
        act();
      } catch (thrown) {
        keepPeers();
        throw thrown;
      }
    };
    orKept(() => store.setClass(id, linkClass, asked));
    try {
      orKept(() => rules.change(changed, changeClass(record, linkClass), ofPeers));
    } catch (thrown) {
      // A change that was not applied must not be applied by the next start either. The next call tries
      // again.
      store.setClass(id, 'deny', {});
      throw thrown;
    }
    // Its host ports may have just begun to lead to the pod.
    if (changed.spec.portMappings.length > 0) teardown.renewPorts(changed);
    return changed;
  };

  /** Refuses a class or rule that would apply to one interface of a pod and not to another. */
  const refuseUnheld = ({ id, spec }: AttachmentRecord, linkClass: LinkClass, asked: LinkRules): void => {
    if (!hasUnheldLink(spec) || linkClass === 'deny') return;
    if (linkClass === 'none') throw notHeld(id, spec.network, 'the class network.none');
    if (asked.egress !== undefined || asked.ingress !== undefined)
      throw notHeld(id, spec.network, 'peer rules');
    if (rules.policy.isolates(policyPodOf(spec, asked))) throw notHeld(id, spec.network, 'NetworkPolicies');
    log.warn(
      { id, network: spec.network, class: linkClass },
      "the class of this pod's link is not enforced: our rules cannot be applied to the link that its plugins created",
    );
  };

  return setClass;
}
