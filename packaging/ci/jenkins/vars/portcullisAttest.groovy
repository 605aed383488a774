/** Attests an image: options of `portcullisSign`, and `provenance`, `sbom`, `sbomType`, `entitlements`. */
def call(Map options) {
  withEnv([
    "PORTCULLIS_IMAGE=${options.image}",
    "PORTCULLIS_PROVENANCE=${options.provenance ?: ''}",
    "PORTCULLIS_SBOM=${options.sbom ?: ''}",
    "PORTCULLIS_SBOM_TYPE=${options.sbomType ?: 'cyclonedx'}",
    "PORTCULLIS_ENTITLEMENTS=${options.entitlements ?: ''}",
    "PORTCULLIS_KEY=${options.key ?: ''}",
    "PORTCULLIS_IDENTITY_TOKEN_FILE=${options.identityTokenFile ?: ''}",
    "PORTCULLIS_SIGNING_CONFIG=${options.signingConfig ?: 'public-good'}",
  ]) {
    sh 'PATH="$PWD/.portcullis/node_modules/.bin:$PATH" .portcullis/node_modules/portcullis/packaging/ci/shell/attest'
  }
}
