/** Milliseconds that this thread has computed: a busy machine makes no filter too complex. */
export function threadClock(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
