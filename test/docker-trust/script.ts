import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createRegistryClient, parseReference } from '../../base/distribution/index.ts';
import { runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import type { Docker } from '../fixtures/dockerd.ts';

export interface ContentTrustInput {
  /** The docker client. */
  readonly program: string;
  /** Its own folder: configuration, keys, known metadata. */
  readonly home: string;
  /** The daemon; it has the image `busybox`. */
  readonly docker: Docker;
  /** The trust service, and the PEM file of its certificate. */
  readonly service: string;
  readonly certificate: string;
  /** `HOST:PORT`. */
  readonly registry: string;
  /** The repository, which is new. */
  readonly name: string;
}

/**
 * Runs the commands of an owner and a reader with docker content trust, from the first key to a revocation,
 * while a registry moves a tag.
 * @returns how many commands ended as they must
 */
export async function playContentTrust(input: ContentTrustInput): Promise<number> {
  const { program, home, docker, service, registry, name } = input;
  const image = `${registry}/${name}`;
  const trusted = join(home, 'config', 'tls', new URL(service).host);
  mkdirSync(trusted, { recursive: true });
  copyFileSync(input.certificate, join(trusted, 'ca.crt'));
  const environment: NodeJS.ProcessEnv = {
    ...docker.environment,
    HOME: home,
    DOCKER_CONFIG: join(home, 'config'),
    DOCKER_CONTENT_TRUST: '1',
    DOCKER_CONTENT_TRUST_SERVER: service,
    DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE: 'root-passphrase',
    DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE: 'repository-passphrase',
  };
  let steps = 0;
  const run = async (line: string, expected: 0 | 1 = 0): Promise<Ended> => {
    const ended = await runProgram(
      'sh',
      ['-c', 'echo y | "$0" "$@"', program, ...line.split(' ')],
      environment,
      home,
    );
    assert.equal(ended.code, expected, `docker ${line}: ${ended.output}\n${docker.log().slice(-2000)}`);
    steps += 1;
    return ended;
  };
  const refused = async (line: string, why: RegExp): Promise<void> =>
    assert.match((await run(line, 1)).output, why);
  const client = createRegistryClient();
  const [repository] = client.repositories(parseReference(image));
  assert.ok(repository);
  const inRegistry = async (tag: string): Promise<string> => (await repository.resolve(tag)).digest;
  /** Returns the image that the daemon has now under a tag. */
  const pulled = async (tag: string): Promise<string> => {
    const { stdout } = await run(`image inspect --format {{.RepoDigests}} ${image}:${tag}`);
    return stdout;
  };
  /** Puts another image under a tag of the registry, as an attacker with write access does. */
  const move = async (tag: string, label: string): Promise<string> => {
    await docker.ok('create', '--name', 'moved', 'busybox', 'true');
    await docker.ok('commit', '--change', `LABEL moved=${label}`, 'moved', `${image}:${tag}`);
    await docker.ok('rm', 'moved');
    await run(`push --disable-content-trust ${image}:${tag}`);
    await docker.ok('rmi', `${image}:${tag}`);
    return inRegistry(tag);
  };

  try {
    // The owner creates the first signer and signs the first image.
    await run('trust key generate alice');
    await run(`trust signer add --key alice.pub alice ${image}`);
    await docker.ok('tag', 'busybox', `${image}:1.0`);
    await run(`push ${image}:1.0`);
    const signed = await inRegistry('1.0');
    assert.ok((await run(`trust inspect ${image}:1.0`)).stdout.includes(signed.slice('sha256:'.length)));

    // The registry's tag moves; a pull still gets the signed image.
    await docker.ok('rmi', `${image}:1.0`);
    assert.notEqual(await move('1.0', name), signed);
    await run(`pull ${image}:1.0`);
    assert.ok((await pulled('1.0')).includes(signed));
    await docker.ok('rmi', `${image}:1.0`);
    await run(`create --network none --name made ${image}:1.0 true`);
    assert.ok((await docker.ok('inspect', '--format', '{{.Config.Image}} {{.Image}}', 'made')).length > 0);
    assert.ok((await pulled('1.0')).includes(signed));
    await docker.ok('rm', 'made');
    // For comparison: without content trust, the pull gets the other image.
    await docker.ok('rmi', `${image}:1.0`);
    await run(`pull --disable-content-trust ${image}:1.0`);
    assert.ok(!(await pulled('1.0')).includes(signed));

    // A second tag by `trust sign`, seen by a reader with its own home.
    await docker.ok('tag', 'busybox', `${image}:2.0`);
    await run(`trust sign ${image}:2.0`);
    const { stdout } = await run(`trust inspect --pretty ${image}`);
    assert.match(stdout, /2\.0\s+[0-9a-f]{64}\s+alice/u);
    await move('unsigned', name);
    await refused(`pull ${image}:unsigned`, /No valid trust data for unsigned|not found|does not have/iu);

    // A revoked image can no longer be pulled; the other tag stays.
    await run(`trust revoke -y ${image}:1.0`);
    await refused(`pull ${image}:1.0`, /No valid trust data for 1\.0/u);
    await run(`pull ${image}:2.0`);
    await run(`trust revoke -y ${image}`);
    await refused(`pull ${image}:2.0`, /No valid trust data for 2\.0/u);
    // Answers yes to the question: docker 28 ignores --force here.
    await run(`trust signer remove alice ${image}`);
    assert.doesNotMatch((await run(`trust inspect ${image}`)).stdout, /"Name": ?"alice"/u);
    await refused(`pull ${registry}/pay/nothing:1.0`, /remote trust data does not exist/u);
    return steps;
  } finally {
    await client.close();
  }
}
