/** Signs an image: `image` by digest, `key` or the identity in the file `identityTokenFile`, `signingConfig`. */
def call(Map options) {
  withEnv([
    "PORTCULLIS_IMAGE=${options.image}",
    "PORTCULLIS_KEY=${options.key ?: ''}",
    "PORTCULLIS_IDENTITY_TOKEN_FILE=${options.identityTokenFile ?: ''}",
    "PORTCULLIS_SIGNING_CONFIG=${options.signingConfig ?: 'public-good'}",
  ]) {
    sh 'PATH="$PWD/.portcullis/node_modules/.bin:$PATH" .portcullis/node_modules/portcullis/packaging/ci/shell/sign'
  }
}
