import type { JsonSchema } from '../../base/schema/index.ts';

const label = '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$';
const texts: JsonSchema = { type: 'array', maxItems: 200, items: { type: 'string', maxLength: 65_536 } };
const textMap: JsonSchema = {
  type: 'object',
  maxProperties: 200,
  additionalProperties: { type: 'string', maxLength: 65_536 },
};
const path: JsonSchema = { type: 'string', pattern: '^/', maxLength: 4096 };

const container: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['name', 'image'],
  properties: {
    name: { type: 'string', pattern: label, description: 'Name of the container.' },
    image: {
      type: 'string',
      pattern: '^[^\\s]{1,512}$',
      description: 'Reference of the image. It is pulled if the node does not have it.',
    },
    command: { ...texts, description: 'In place of the entry point of the image.' },
    args: { ...texts, description: 'In place of the arguments of the image.' },
    workingDir: {
      type: 'string',
      pattern: '^(/.*)?$',
      maxLength: 4096,
      description: 'Working directory. Default: that of the image.',
    },
    env: { ...textMap, description: 'Environment variables. They are readable on the node: no secrets.' },
    mounts: {
      type: 'array',
      maxItems: 100,
      description: 'Paths of the host in the container. The ceiling of the policy must hold them.',
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['hostPath', 'containerPath'],
        properties: {
          hostPath: { ...path, description: 'Path on the host.' },
          containerPath: { ...path, description: 'Path in the container.' },
          readOnly: { type: 'boolean', description: 'Default: false.' },
        },
      },
    },
    memory: { type: 'integer', minimum: 4_194_304, description: 'Limit of the memory in bytes.' },
    cpuMillis: {
      type: 'integer',
      minimum: 10,
      maximum: 1_000_000,
      description: 'Limit of the processor time, in thousandths of a processor.',
    },
    privileged: { type: 'boolean', description: 'Default: false.' },
  },
};

/** The section `staticPods` of a NodeState document. */
export const staticPodSchema: JsonSchema = {
  type: 'array',
  description:
    'Pods that the node runs by itself. A pod whose description changes is replaced, and a pod that ended is started again, at growing intervals. They are for nodes without a kubelet: a kubelet removes pods that it does not know.',
  maxItems: 200,
  items: {
    type: 'object',
    additionalProperties: false,
    required: ['name', 'containers'],
    properties: {
      name: { type: 'string', pattern: label, description: 'Name of the pod.' },
      namespace: { type: 'string', pattern: label, description: 'Namespace of the pod. Default: `default`.' },
      hostNetwork: { type: 'boolean', description: 'The pod has the network of the host. Default: false.' },
      runtimeHandler: {
        type: 'string',
        maxLength: 63,
        description: 'Name of the runtime handler. Default: that of the daemon.',
      },
      labels: { ...textMap, description: 'Labels of the pod.' },
      annotations: { ...textMap, description: 'Annotations of the pod.' },
      containers: {
        type: 'array',
        minItems: 1,
        maxItems: 20,
        items: container,
        description: 'Containers of the pod.',
      },
    },
  },
};
