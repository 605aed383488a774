// Command dnet serves libnetwork's own HTTP interface, as its test daemon of that name does: `dnet ADDRESS FOLDER`. The command of Debian's
// docker.io exits at its start, because the flag package of Go 1.17 and later refuses the names of its flags.
package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/docker/docker/pkg/reexec"
	"github.com/docker/libnetwork"
	"github.com/docker/libnetwork/api"
	"github.com/docker/libnetwork/config"
	"github.com/docker/libnetwork/osl"
	"github.com/gorilla/mux"
)

func main() {
	if reexec.Init() {
		return
	}
	folder := os.Args[2]
	osl.SetBasePath(filepath.Join(folder, "exec"))
	controller, err := libnetwork.New(config.OptionDataDir(folder), config.OptionExecRoot(filepath.Join(folder, "exec")))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	handler := api.NewHTTPHandler(controller)
	router := mux.NewRouter()
	for _, kind := range []string{"/networks", "/services", "/sandboxes"} {
		router.PathPrefix(kind).HandlerFunc(handler)
		router.PathPrefix("/{.*}" + kind).HandlerFunc(handler)
	}
	if err := http.ListenAndServe(os.Args[1], router); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
