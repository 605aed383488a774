import type { MessageFields } from '../../../base/kubernetes/index.ts';
import { annotationPrefix, serviceNameLabel } from './objects.ts';

/**
 * The fields that `readService` and `readSlice` use, by their numbers in Protocol Buffers. Sources:
 * generated.proto of k8s.io/apimachinery/pkg/apis/meta/v1, k8s.io/api/core/v1 and k8s.io/api/discovery/v1.
 */

const metadata: MessageFields = {
  1: ['name', 'text'],
  3: ['namespace', 'text'],
  8: ['creationTimestamp', 'time'],
  11: ['labels', { keys: (key) => key === serviceNameLabel }],
  12: ['annotations', { keys: (key) => key.startsWith(annotationPrefix) }],
};

const servicePort: MessageFields = {
  1: ['name', 'text'],
  2: ['protocol', 'text'],
  3: ['port', 'number'],
  4: ['targetPort', 'port'],
  5: ['nodePort', 'number'],
};

const clientIp: MessageFields = { 1: ['timeoutSeconds', 'number'] };
const ingress: MessageFields = { 1: ['ip', 'text'], 3: ['ipMode', 'text'] };

export const serviceFields: MessageFields = {
  1: ['metadata', { one: metadata }],
  2: [
    'spec',
    {
      one: {
        1: ['ports', { all: servicePort }],
        3: ['clusterIP', 'text'],
        4: ['type', 'text'],
        5: ['externalIPs', 'texts'],
        7: ['sessionAffinity', 'text'],
        9: ['loadBalancerSourceRanges', 'texts'],
        11: ['externalTrafficPolicy', 'text'],
        12: ['healthCheckNodePort', 'number'],
        14: ['sessionAffinityConfig', { one: { 1: ['clientIP', { one: clientIp }] } }],
        18: ['clusterIPs', 'texts'],
        22: ['internalTrafficPolicy', 'text'],
      },
    },
  ],
  3: ['status', { one: { 1: ['loadBalancer', { one: { 1: ['ingress', { all: ingress }] } }] } }],
};

const name: MessageFields = { 1: ['name', 'text'] };
const conditions: MessageFields = {
  1: ['ready', 'truth'],
  2: ['serving', 'truth'],
  3: ['terminating', 'truth'],
};
const endpoint: MessageFields = {
  1: ['addresses', 'texts'],
  2: ['conditions', { one: conditions }],
  6: ['nodeName', 'text'],
  8: ['hints', { one: { 1: ['forZones', { all: name }], 2: ['forNodes', { all: name }] } }],
};
const slicePort: MessageFields = {
  1: ['name', 'text'],
  2: ['protocol', 'text'],
  3: ['port', 'number'],
};

export const sliceFields: MessageFields = {
  1: ['metadata', { one: metadata }],
  2: ['endpoints', { all: endpoint }],
  3: ['ports', { all: slicePort }],
  4: ['addressType', 'text'],
};
