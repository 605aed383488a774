export * from './constants.ts';
export { withAddresses } from './libc.ts';
export { errnoName, isErrno, kernelError, leavesUnknown } from './errno.ts';
export type { KernelCode } from './errno.ts';
export { cachedFile } from './cached-path.ts';
export { groupOf, sessionOf } from './process-groups.ts';
export type { CachedFile } from './cached-path.ts';
export {
  attach as attachMount,
  bindMount,
  checkIdmap,
  isMountpoint,
  mount,
  setPropagation,
  umount,
} from './mount.ts';
export type { BindOptions, Propagation } from './mount.ts';
export type { MountedFile } from './detached-mount.ts';
export { directReadUnit } from './direct-io.ts';
export { openNullDevice } from './null-device.ts';
export { mountOverlay } from './overlay.ts';
export type { Overlay } from './overlay.ts';
export { inNamespaces, isNamespaceOf, sethostname, setns, unshare } from './namespaces.ts';
export type { NamespaceFds, NamespaceType } from './namespaces.ts';
export { sysctlNamespace } from './sysctl.ts';
export { pinNamespaces, unpinNamespaces } from './pins.ts';
export type { PinnedNamespaces } from './pins.ts';
export {
  closeFd,
  createWriteOut,
  fsyncDir,
  lockFile,
  mkfifo,
  mknod,
  openFile,
  openInRoot,
  openInRootIfThere,
  setTimes,
  syncfs,
  syncfsOf,
  tryLockFile,
  unlockFile,
  writeFd,
} from './files.ts';
export type { OpenInRoot, Times } from './files.ts';
export { kernelFileSystemOf, openNamespaceRoot, fileIdentityOf } from './file-identity.ts';
export type { FileIdentity } from './file-identity.ts';
export { landlockVersion } from './landlock.ts';
export { limitsProjects } from './project-quota.ts';
export { getXattr, listXattr, removeXattr, setXattr } from './xattr.ts';
export type { XattrOptions } from './xattr.ts';
export { pidfdInfo, pidfdOpen, pidfdSendSignal } from './pidfd.ts';
export type { PidfdInfo } from './pidfd.ts';
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
} from './socket.ts';
export type { PeerCredentials } from './socket.ts';
export { closeLedger, enter, keepLedger, newLedger } from './ledger.ts';
export { hearAllNamespaces, receiveHeard } from './namespace-events.ts';
export { linkFlagsOf, linkIndexOf, linkMacOf, linkNameOf } from './netdevice.ts';
export { sendDatagram } from './datagram.ts';
export { bindTcp, bindUdp, connectTcp, connectUdp, sockaddr } from './inet-socket.ts';
export { openDatagramBatch } from './datagram-batch.ts';
export type { DatagramPeer } from './datagram-batch.ts';
export type { InetAddress } from './inet-socket.ts';
export { adopt, onProcessEnd } from './adopt.ts';
export type { Adopted } from './adopt.ts';
export { adoptTerminal } from './adopt-terminal.ts';
export { hasHungUp } from './hangup.ts';
export { receiveDescriptor } from './passed-descriptors.ts';
export { connectLoopback, loopbackConnected, openLoopbackSocket } from './loopback-socket.ts';
export { setWindowSize } from './terminal.ts';
export { makeThreadPrompt, raiseThreadPriority } from './priority.ts';
export { openPipe, openPipes, reapProcess, spawnProcess } from './spawn.ts';
export type { Pipe } from './spawn.ts';
export type { ProcessEnd, SpawnedProcess } from './spawn.ts';
export { sealedFile } from './sealed-file.ts';
export { createEventFd, drainEventFd, signalEventFd } from './eventfd.ts';
export {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  createEpoll,
  epollAdd,
  epollRearm,
  epollRemove,
  epollWait,
} from './epoll.ts';
export { boundingCapabilities, capabilityNames, effectiveCapabilities } from './capabilities.ts';
export { seccompFilters } from './seccomp-filters.ts';
export { kernelRelease } from './release.ts';
export type { KernelRelease } from './release.ts';
export { fixHeapThresholds, trimHeap } from './heap.ts';
export { startKernelWorker } from './kernel.ts';
export type { Kernel } from './kernel.ts';
export type { DiskUsage } from './disk-usage.ts';
