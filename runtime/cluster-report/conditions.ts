import type { ContainerOutOfPolicy, PodOutOfPolicy } from './pod-facts.ts';
import type { HandlerComparison } from './runtime-classes.ts';

/** A condition of the Node object (core/v1), without its times. `True` says that something is wrong. */
export interface NodeCondition {
  readonly type: 'ImagePolicyNotInForce' | 'ImagesOutOfPolicy' | 'RuntimeClassWithoutHandler';
  readonly status: 'True' | 'False' | 'Unknown';
  /** CamelCase, for programs. */
  readonly reason: string;
  /** For people. */
  readonly message: string;
}

export interface ConditionFacts {
  /** The revision of the policy in force; undefined: there is none. */
  readonly revision: string | undefined;
  /** Why the latest policy is not in force, or why there is none. */
  readonly problem: string | undefined;
  /** Where this node takes its policy from, by its configuration. */
  readonly source: 'files' | 'releases' | 'objects of the cluster';
  /** Whether the node has decided about all running containers and recorded images. */
  readonly isDecided: boolean;
  readonly pods: readonly PodOutOfPolicy[];
  /** Recorded images whose own pull would not be admitted now. */
  readonly images: number;
  /** Undefined: the RuntimeClasses of the cluster have not been read. */
  readonly handlers: HandlerComparison | undefined;
}

const mostListed = 10;
/** Node objects are read by many programs. */
const longestMessage = 1024;

/** Returns the conditions of the node. Pure. */
export function conditionsOf(facts: ConditionFacts): readonly NodeCondition[] {
  return [policyCondition(facts), imageCondition(facts), handlerCondition(facts.handlers)].map((one) => ({
    ...one,
    message: shortened(one.message, longestMessage),
  }));
}

function policyCondition({ revision, problem, source }: ConditionFacts): NodeCondition {
  const type = 'ImagePolicyNotInForce';
  if (revision === undefined)
    return {
      ...{ type, status: 'True', reason: 'NoPolicy' },
      message: `there is no policy, and everything new is denied: ${problem ?? 'none is configured'}`,
    };
  if (problem !== undefined)
    return {
      ...{ type, status: 'True', reason: 'NotTaken' },
      message: `revision ${revision} stays in force: ${problem}`,
    };
  return {
    ...{ type, status: 'False', reason: 'InForce' },
    message: `revision ${revision} is in force, from ${source}`,
  };
}

function imageCondition({ revision, isDecided, pods, ...facts }: ConditionFacts): NodeCondition {
  const type = 'ImagesOutOfPolicy';
  if (pods.length > 0) {
    const containers = pods.flatMap((pod) => pod.containers);
    // Not the names of pods: whoever may read nodes may not be allowed to read them.
    const images = [...new Set(containers.map(described))];
    const more = images.length > mostListed ? ` and ${images.length - mostListed} more` : '';
    return {
      ...{ type, status: 'True', reason: 'ContainersOutOfPolicy' },
      message: `the policy does not admit the images of ${count(containers.length, 'running container')} in ${count(pods.length, 'pod')}, whose events say why: ${images.slice(0, mostListed).join(', ')}${more}`,
    };
  }
  if (revision === undefined || !isDecided)
    return {
      ...{ type, status: 'Unknown', reason: 'NotDecided' },
      message:
        revision === undefined
          ? 'there is no policy, so that nothing was decided'
          : 'the node has not decided about all images yet',
    };
  if (facts.images > 0)
    return {
      ...{ type, status: 'True', reason: 'ImagesRecorded' },
      message: `the policy does not admit ${count(facts.images, 'image')} on this node; no running container uses one of them, and no new container can`,
    };
  return {
    ...{ type, status: 'False', reason: 'InPolicy' },
    message: 'the policy admits all images on this node',
  };
}

function handlerCondition(handlers: HandlerComparison | undefined): NodeCondition {
  const type = 'RuntimeClassWithoutHandler';
  if (handlers === undefined)
    return {
      ...{ type, status: 'Unknown', reason: 'NotRead' },
      message: 'the RuntimeClasses of the cluster have not been read',
    };
  const { withoutHandler, withoutClass } = handlers;
  const unnamed =
    withoutClass.length === 0
      ? ''
      : `; no RuntimeClass names ${withoutClass.slice(0, mostListed).join(', ')}`;
  if (withoutHandler.length === 0)
    return {
      ...{ type, status: 'False', reason: 'HandlersThere' },
      message: `this node has the handlers of all RuntimeClasses that apply to it${unnamed}`,
    };
  const listed = withoutHandler
    .slice(0, mostListed)
    .map(({ name, handler }) => `${name} (handler ${handler})`)
    .join(', ');
  const more = withoutHandler.length > mostListed ? ` and ${withoutHandler.length - mostListed} more` : '';
  return {
    ...{ type, status: 'True', reason: 'HandlersMissing' },
    message: `pods of these RuntimeClasses cannot start on this node, which does not have their handlers: ${listed}${more}; configure the handlers in \`runtimes\`, or select other nodes by scheduling.nodeSelector${unnamed}`,
  };
}

const described = ({ reference, rule, outcome }: ContainerOutOfPolicy): string =>
  `${reference} (${outcome === 'deny' ? 'denied' : 'undecided'}${rule === '' ? '' : ` by rule ${rule}`})`;

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`;

/** Returns the beginning of a text that has at most this many characters. */
export const shortened = (text: string, most: number): string =>
  text.length <= most ? text : `${text.slice(0, most - 1)}…`;
