export * from './ffi/constants.ts';
export { withAddresses } from './ffi/libc.ts';
export { errnoName, isErrno, kernelError } from './ffi/errno.ts';
export type { KernelCode } from './ffi/errno.ts';
export { cachedFile, namedFile } from './files/cached-path.ts';
export { groupOf, sessionOf } from './processes/process-groups.ts';
export type { CachedFile } from './files/cached-path.ts';
export {
  attach as attachMount,
  bindMount,
  checkIdmap,
  isMountpoint,
  mount,
  setPropagation,
  umount,
} from './mounts/mount.ts';
export type { BindOptions, Propagation } from './mounts/mount.ts';
export type { MountedFile } from './mounts/detached-mount.ts';
export { directReadUnit } from './files/direct-io.ts';
export { localFileSystems } from './mounts/local-file-systems.ts';
export { openNullDevice } from './mounts/null-device.ts';
export { mountOverlay } from './mounts/overlay.ts';
export type { Overlay } from './mounts/overlay.ts';
export { startIoPool } from './namespaces/io-pool.ts';
export {
  inNamespaces,
  isNamespaceOf,
  sethostname,
  setns,
  unshare,
  unshareMounts,
} from './namespaces/namespaces.ts';
export type { NamespaceFds, NamespaceType } from './namespaces/namespaces.ts';
export { sysctlNamespace } from './namespaces/sysctl.ts';
export { pinNamespaces, unpinNamespaces } from './namespaces/pins.ts';
export type { PinnedNamespaces } from './namespaces/pins.ts';
export {
  closeFd,
  createWriteOut,
  lockFile,
  mkfifo,
  mknod,
  openFile,
  openInRoot,
  openInRootIfThere,
  prepareFd,
  setTimes,
  syncfs,
  syncfsOf,
  tryLockFile,
  unlockFile,
  withOpen,
  writeFd,
} from './files/files.ts';
export type { OpenInRoot, Times } from './files/files.ts';
export { kernelFileSystemOf, openNamespaceRoot, fileIdentityOf, isOnOverlay } from './files/file-identity.ts';
export type { FileIdentity } from './files/file-identity.ts';
export { landlockVersion } from './processes/landlock.ts';
export {
  answerPreContent,
  createPreContentGroup,
  markPreContent,
  preContentRefusal,
  readPreContentEvents,
  unmarkPreContent,
} from './fanotify/pre-content.ts';
export type { PreContentEvent } from './fanotify/pre-content.ts';
export { inheritanceOf } from './files/inheritance.ts';
export { limitsProjects } from './files/project-quota.ts';
export { enableVerity, verityDigest } from './files/verity.ts';
export { getXattr, listXattr, setXattr } from './files/xattr.ts';
export type { XattrOptions } from './files/xattr.ts';
export { pidfdInfo, pidfdOpen, pidfdSendSignal } from './processes/pidfd.ts';
export type { PidfdInfo } from './processes/pidfd.ts';
export {
  bindNetlink,
  connectUnix,
  duplicateFd,
  listenUnix,
  netnsCookie,
  peerCredentials,
  pollIn,
  receiveWaiting,
  recv,
  send,
  sendApart,
  setSockOpt,
  shutdown,
  socket,
} from './sockets/socket.ts';
export type { PeerCredentials } from './sockets/socket.ts';
export { closeLedger, enter, keepLedger, newLedger } from './ffi/ledger.ts';
export { hearAllNamespaces, receiveHeard } from './sockets/namespace-events.ts';
export { linkFlagsOf, linkIndexOf, linkMacOf, linkNameOf } from './sockets/netdevice.ts';
export { sendDatagram } from './sockets/datagram.ts';
export { openPacketSocket, receivePacket, sendPacket } from './sockets/packet-socket.ts';
export { keepTap, tapControl } from './sockets/tap.ts';
export type { TapSettings } from './sockets/tap.ts';
export { bindTcp, bindUdp, connectTcp, connectUdp, sockaddr } from './sockets/inet-socket.ts';
export { openDatagramBatch } from './sockets/datagram-batch.ts';
export type { DatagramPeer } from './sockets/datagram-batch.ts';
export type { InetAddress } from './sockets/inet-socket.ts';
export { adopt, onProcessEnd } from './processes/adopt.ts';
export type { Adopted } from './processes/adopt.ts';
export { adoptTerminal } from './processes/adopt-terminal.ts';
export { hasHungUp } from './polling/hangup.ts';
export { receiveDescriptor } from './sockets/passed-descriptors.ts';
export { connectLoopback, loopbackConnected, openLoopbackSocket } from './sockets/loopback-socket.ts';
export { setWindowSize } from './processes/terminal.ts';
export { makeThreadPrompt, raiseThreadPriority } from './processes/priority.ts';
export { openPipe, openPipes, reapProcess, spawnProcess } from './processes/spawn.ts';
export { openOutput, openOutputs } from './processes/output.ts';
export type { CollectedOutput, OutputRoom } from './processes/output.ts';
export type { Pipe } from './processes/spawn.ts';
export type { ProcessEnd, SpawnedProcess } from './processes/spawn.ts';
export { sealedFile } from './files/sealed-file.ts';
export { watchInEventLoop } from './polling/event-loop.ts';
export { createEventFd, drainEventFd, signalEventFd } from './polling/eventfd.ts';
export {
  EPOLLIN,
  EPOLLONESHOT,
  createEpoll,
  epollAdd,
  epollRearm,
  epollRemove,
  epollReady,
} from './polling/epoll.ts';
export { boundingCapabilities, effectiveCapabilities } from './processes/capabilities.ts';
export { denyDeviceInCgroup } from './processes/device-filter.ts';
export { seccompFilters } from './processes/seccomp-filters.ts';
export { kernelRelease } from './ffi/release.ts';
export type { KernelRelease } from './ffi/release.ts';
export { fixHeapThresholds, trimHeap, unmapProgram } from './ffi/heap.ts';
export { startKernelWorker } from './kernel.ts';
export type { Kernel } from './kernel.ts';
export type { DiskUsage } from './files/disk-usage.ts';
