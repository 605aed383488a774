// Runs in the machine under test only: connects port 7000 to the socket of the CRI, and runs the command of each
// connection to port 7001, whose output and exit status are the answer.
import { spawn } from 'node:child_process';
import { connect, createServer } from 'node:net';

createServer((client) => {
  const daemon = connect('/run/portcullis/portcullis.sock');
  client.pipe(daemon).pipe(client);
  for (const [one, other] of [
    [client, daemon],
    [daemon, client],
  ])
    one.on('error', () => other.destroy()).on('close', () => other.destroy());
}).listen(7000);

createServer({ allowHalfOpen: true }, (client) => {
  let command = '';
  client.setEncoding('utf8').on('error', () => client.destroy());
  client.on('data', (part) => (command += part));
  client.on('end', () => {
    const child = spawn('/usr/bin/sh', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const output of [child.stdout, child.stderr]) output.on('data', (bytes) => client.write(bytes));
    child.on('close', (status, signal) => client.end(`\n${status ?? signal}`));
  });
}).listen(7001);
