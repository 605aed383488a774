// Command containerd-shim-runsc-v1 is gVisor's shim, for machines whose root may not lower the OOM score of a process (containers without
// CAP_SYS_RESOURCE): there gVisor's `start` ends with an error, and this program starts the shim without that step. Everything else is gVisor's.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"gvisor.dev/gvisor/shim/v1/cli"
)

func main() {
	if len(os.Args) > 1 && os.Args[len(os.Args)-1] == "start" && !mayLowerScore() {
		if err := start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	cli.Main()
}

// mayLowerScore tries it on this process, which ends at once.
func mayLowerScore() bool {
	return os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0o644) == nil
}

func start() error {
	flags := flag.NewFlagSet("start", flag.ContinueOnError)
	namespace := flags.String("namespace", "", "")
	address := flags.String("address", "", "")
	id := flags.String("id", "", "")
	flags.String("publish-binary", "", "")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	ctx := namespaces.WithNamespace(context.Background(), *namespace)
	at, err := shim.SocketAddress(ctx, *address, *id, false)
	if err != nil {
		return err
	}
	socket, err := shim.NewSocket(at)
	if err != nil {
		return err
	}
	file, err := socket.File()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command(self, "-namespace", *namespace, "-address", *address, "-id", *id)
	command.Env = append(os.Environ(), "GOMAXPROCS=2")
	command.ExtraFiles = []*os.File{file}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return err
	}
	if err := os.WriteFile("address", []byte(at), 0o644); err != nil {
		return err
	}
	fmt.Print(at)
	return nil
}
