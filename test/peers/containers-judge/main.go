// Command containers-judge reports the decisions of the containers image library (podman, CRI-O, skopeo) about images under a policy.json
// and a registries.d. It reads one question (JSON) from standard input and prints one answer (JSON) a line:
//
//	{"policy": FILE, "registriesDir": DIR, "registry": "127.0.0.1:5000", "images": ["registry.access.redhat.com/ubi9:latest"]}
//	{"image": "...", "allowed": false, "why": "A signature was required, but no signature exists"}
//
// Every request of a registry, whatever its host, goes to `registry` (plain HTTP), so that policies may name real registries; other
// requests, for lookaside stores, go to their own URLs.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"

	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

type question struct {
	Policy        string   `json:"policy"`
	RegistriesDir string   `json:"registriesDir"`
	Registry      string   `json:"registry"`
	Images        []string `json:"images"`
}

type answer struct {
	Image   string `json:"image"`
	Allowed bool   `json:"allowed"`
	Why     string `json:"why,omitempty"`
}

func main() {
	logrus.SetOutput(io.Discard)
	var q question
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		fmt.Fprintln(os.Stderr, "containers-judge:", err)
		os.Exit(2)
	}
	proxy := httptest.NewServer(everythingTo(q.Registry))
	defer proxy.Close()
	proxyURL, _ := url.Parse(proxy.URL)
	sys := &types.SystemContext{
		RegistriesDirPath:           q.RegistriesDir,
		SystemRegistriesConfPath:    os.DevNull,
		SystemRegistriesConfDirPath: "/nonexistent",
		AuthFilePath:                "/nonexistent/auth.json",
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
		DockerProxyURL:              proxyURL,
		ArchitectureChoice:          "amd64",
		OSChoice:                    "linux",
	}
	out := json.NewEncoder(os.Stdout)
	policy, invalid := signature.NewPolicyFromFile(q.Policy)
	for _, name := range q.Images {
		a := answer{Image: name}
		if invalid != nil {
			a.Why = "invalid policy: " + invalid.Error()
		} else {
			allowed, err := judge(sys, policy, name)
			a.Allowed = allowed
			if err != nil {
				a.Why = err.Error()
			}
		}
		_ = out.Encode(a)
	}
}

// judge asks the same question as a pull (copy.Image): for an index, about the manifest of the platform.
func judge(sys *types.SystemContext, policy *signature.Policy, name string) (bool, error) {
	ctx := context.Background()
	ref, err := docker.ParseReference("//" + name)
	if err != nil {
		return false, fmt.Errorf("reference: %w", err)
	}
	source, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return false, fmt.Errorf("no such image: %w", err)
	}
	defer source.Close()
	unparsed := image.UnparsedInstance(source, nil)
	raw, mediaType, err := unparsed.Manifest(ctx)
	if err != nil {
		return false, err
	}
	if manifest.MIMETypeIsMultiImage(mediaType) {
		list, err := manifest.ListFromBlob(raw, mediaType)
		if err != nil {
			return false, err
		}
		instance, err := list.ChooseInstance(sys)
		if err != nil {
			return false, err
		}
		unparsed = image.UnparsedInstance(source, &instance)
	}
	policyContext, err := signature.NewPolicyContext(policy)
	if err != nil {
		return false, err
	}
	defer func() { _ = policyContext.Destroy() }()
	return policyContext.IsRunningImageAllowed(ctx, unparsed)
}

// everythingTo is an HTTP proxy without TLS: the library falls back to plain HTTP, as for any insecure registry.
func everythingTo(registry string) http.Handler {
	forward := &httputil.ReverseProxy{Director: func(r *http.Request) {
		r.URL.Scheme = "http"
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			r.URL.Host = registry
		}
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			http.Error(w, "no TLS here", http.StatusBadGateway)
			return
		}
		forward.ServeHTTP(w, r)
	})
}
