/**
 * Adds the program to crun's message `open executable: Permission denied`, which does not name it. Other
 * messages are not changed.
 * @param program the first argument of the process; undefined: it is not known
 */
export function withExecutable(message: string, program: string | undefined): string {
  if (program === undefined) return message;
  return message.replace(
    /^open executable:/mu,
    () => `open executable ${JSON.stringify(program.slice(0, 300))}:`,
  );
}
