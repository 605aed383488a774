import { LRUCache } from 'lru-cache';
import { createRegistryClient, createServiceTokens } from '../../../base/distribution/index.ts';
import type {
  Credentials,
  RegistryClient,
  RegistryClientOptions,
  ServiceQuestion,
  ServiceTokens,
} from '../../../base/distribution/index.ts';
import { credentialsOf } from '../../credentials/find-credentials.ts';
import type { HttpAccess } from '../client/http-source.ts';
import { openSource } from '../client/open-source.ts';
import type { FindRepositories, OpenSourceOptions } from '../client/open-source.ts';
import type { TufSource } from '../client/source.ts';

/** Who asks about which repository of metadata. */
export interface SourceQuestion {
  /** Where it is: `https://…`, `http://…` or `oci://…`. */
  readonly url: string;
  /** `HOST/PATH` that it is about. */
  readonly image: string;
  /** The image's, to which the credentials belong. */
  readonly registry: string;
  /** Of the pull; the logins of whoever runs this are used where there are none. */
  readonly credentials?: Credentials;
}

/** Opens where metadata come from, as registries are reached and with tokens where a service demands them. Nothing is asked yet. */
export function openSources(registries: RegistryClientOptions = {}): (question: SourceQuestion, options: OpenSourceOptions) => TufSource {
  let client: RegistryClient | undefined;
  let tokens: ServiceTokens | undefined;
  /** By address: logins of whoever runs this, found when it demanded authentication. */
  const logins = new LRUCache<string, { readonly own?: Credentials; readonly pull?: Credentials }>({ max: 1000 });

  const repositoriesOf =
    ({ registry, credentials }: SourceQuestion): FindRepositories =>
    async (reference) => {
      client ??= createRegistryClient(registries);
      const onlyMirror = registries.mirrors?.get(reference.registry)?.origin === false;
      const given = reference.registry === registry ? credentials : undefined;
      return client.repositories(reference, given ?? (onlyMirror ? undefined : await credentialsOf(process.env)(reference)));
    };

  const accessOf = ({ url, image, registry, credentials }: SourceQuestion): HttpAccess => {
    const opened = (tokens ??= createServiceTokens(registries));
    const service = new URL(url);
    const question = (): ServiceQuestion => {
      const { own, pull } = logins.get(url) ?? {};
      const given = credentials ?? pull;
      return {
        service,
        repository: image,
        ...(given === undefined ? {} : { pull: { registry, credentials: given } }),
        ...(own === undefined ? {} : { login: own }),
      };
    };
    return {
      known: () => opened.known(question()),
      async answer(refused, used) {
        // Read anew: logging in mends it.
        const find = credentialsOf(process.env);
        const own = await find({ registry: service.host, repository: '' });
        const pull = await find({ registry, repository: image.slice(registry.length + 1) });
        logins.set(url, { ...(own === undefined ? {} : { own }), ...(pull === undefined ? {} : { pull }) });
        return opened.answer(question(), refused, used);
      },
    };
  };

  return (question, options) =>
    openSource(question.url, {
      ...options,
      repositories: repositoriesOf(question),
      ...(/^https?:\/\//u.test(question.url) ? { access: accessOf(question) } : {}),
    });
}
