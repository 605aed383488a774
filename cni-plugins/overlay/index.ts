export { startOverlay } from './overlay.ts';
export type { Overlay } from './overlay.ts';
export type { OverlayQuestion, OverlayStatus } from './protocol.ts';
export type { OverlaySettings } from './records/settings.ts';
export { openEtcd } from './etcd/client.ts';
export type { EtcdAccess, EtcdClient } from './etcd/client.ts';
export { followPrefix } from './etcd/follow.ts';
export type { Change as EtcdChange } from './etcd/follow.ts';
export { holdLease } from './etcd/lease.ts';
