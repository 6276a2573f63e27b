// go-queue kq v1.2.2 as a worker pool: Processors = concurrency, one connection, ForceCommit, as its README sets them for throughput.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zeromicro/go-queue/kq"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/stat"
)

const slowKeys = 100

var (
	brokers     = flag.String("brokers", "127.0.0.1:9092", "host:port")
	topic       = flag.String("topic", "bench", "")
	group       = flag.String("group", "bench", "")
	records     = flag.Int64("records", 1_000_000, "")
	workload    = flag.String("workload", "noop", "")
	concurrency = flag.Int("concurrency", 64, "")
	spinSteps   = flag.Int("spin", 12_800, "")
	skip        = flag.Uint64("skip", 0, "the delay of records with a lower id does not count")
	timeout     = flag.Int("timeout-s", 120, "")
	logPath     = flag.String("log", "", "")
	failID      = flag.Int64("fail-id", -1, "")
	failByPanic = flag.Bool("fail-by-panic", false, "")
	_           = flag.Int("session-ms", 45_000, "kq cannot set it: 30 s")
)

var (
	start       = time.Now()
	begun       atomic.Bool
	first, last atomic.Int64
	half        atomic.Int64
	cpuFirst    atomic.Int64
	cpuLast     atomic.Int64
	handled     atomic.Int64
	sink        atomic.Uint64
	delaysLock  sync.Mutex
	delays      []float64
	logFile     *os.File
	errPlanned  = errors.New("planned failure")
)

func cpuNs() int64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func peakRssMB() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM") {
			kilobytes, _ := strconv.ParseFloat(strings.Fields(line)[1], 64)
			return kilobytes / 1024
		}
	}
	return 0
}

//go:noinline
func xorshift(seed uint64, steps int) uint64 {
	seed |= 1
	for range steps {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
	}
	return seed
}

func number(value string, at int) uint64 {
	var bytes [8]byte
	copy(bytes[:], value[at:at+8])
	return binary.LittleEndian.Uint64(bytes[:])
}

func handle(_ context.Context, _, value string) error {
	if !begun.Load() && !begun.Swap(true) {
		cpuFirst.Store(cpuNs())
		first.Store(int64(time.Since(start)))
	}
	id, key := number(value, 0), uint64(uint32(number(value, 24)))
	switch *workload {
	case "cpu20us":
		sink.Store(xorshift(id, *spinSteps))
	case "sleep1ms":
		time.Sleep(time.Millisecond)
	case "sleep10ms":
		time.Sleep(10 * time.Millisecond)
	case "slowkeys":
		if key < slowKeys {
			time.Sleep(500 * time.Millisecond)
		}
	case "fail2":
		if id%100 == 0 {
			// kq does not try again: the record is gone.
			count()
			return errPlanned
		}
	case "steps":
		if err := step(id, key, number(value, 16)); err != nil {
			return err
		}
	}
	if (*workload == "paced" || *workload == "slowkeys" && key >= slowKeys) && id >= *skip {
		delay := float64(time.Now().UnixNano()-int64(number(value, 8))) / 1e6
		delaysLock.Lock()
		delays = append(delays, delay)
		delaysLock.Unlock()
	}
	count()
	return nil
}

func count() {
	done := handled.Add(1)
	if done == *records/2 {
		half.Store(int64(time.Since(start)))
	}
	if done == *records {
		cpuLast.Store(cpuNs())
		last.Store(int64(time.Since(start)))
	}
}

func step(id, key, sequence uint64) error {
	began := time.Now().UnixNano()
	drawn := (id * 0x9E3779B97F4A7C15) >> 40
	ms := drawn % 5
	if drawn%500 == 0 {
		ms = 1500
	}
	time.Sleep(time.Duration(ms) * time.Millisecond)
	isBad := int64(id) == *failID
	var done int64
	if !isBad {
		done = time.Now().UnixNano()
	}
	var line [40]byte
	for place, value := range []uint64{id, key, sequence, uint64(began), uint64(done)} {
		binary.LittleEndian.PutUint64(line[place*8:], value)
	}
	if logFile != nil {
		_, _ = logFile.Write(line[:])
	}
	if isBad {
		if *failByPanic {
			panic("planned panic")
		}
		return errPlanned
	}
	return nil
}

func main() {
	flag.Parse()
	if *logPath != "" {
		var err error
		if logFile, err = os.OpenFile(*logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	conf := kq.KqConf{
		Brokers: []string{*brokers}, Group: *group, Topic: *topic, Offset: "first",
		Conns: 1, Consumers: min(*concurrency, 8), Processors: *concurrency,
		MinBytes: 10240, MaxBytes: 10485760, ForceCommit: true,
	}
	conf.Name = "kq-arm"
	conf.Mode = "pro"
	queue := kq.MustNewQueue(conf, kq.WithHandle(handle), kq.WithCommitInterval(time.Second),
		kq.WithQueueCapacity(10000), kq.WithMaxWait(100*time.Millisecond))
	logx.Disable()
	stat.DisableLog()
	stopped := make(chan struct{})
	go func() { queue.Start(); close(stopped) }()

	deadline := time.After(time.Duration(*timeout) * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	for waiting := true; waiting && last.Load() == 0; {
		select {
		case <-stopped: // SIGTERM: go-zero's proc package closed the queue
			time.Sleep(1500 * time.Millisecond) // its last commits, at their interval of 1 s
			os.Exit(0)
		case <-deadline:
			waiting = false
		case <-tick.C:
		}
	}
	report()
	os.Exit(0)
}

func report() {
	complete := last.Load() != 0
	end, cpuEnd, done := last.Load(), cpuLast.Load(), handled.Load()
	if !complete {
		end, cpuEnd = int64(time.Since(start)), cpuNs()
	}
	seconds := float64(end-first.Load()) / 1e9
	steady := 0.0
	if complete && half.Load() > 0 {
		steady = float64(*records-*records/2) / (float64(end-half.Load()) / 1e9)
	}
	delaysLock.Lock()
	slices.Sort(delays)
	quantile := func(part float64) float64 {
		if len(delays) == 0 {
			return 0
		}
		return delays[int(float64(len(delays)-1)*part)]
	}
	fmt.Printf(`{"arm":"kq","workload":%q,"concurrency":%d,"handled":%d,"complete":%v,"seconds":%.4f,"msgs_per_s":%.1f,"steady_msgs_per_s":%.1f,"cpu_s":%.4f,"peak_rss_mb":%.1f,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,"delays":%d}`+"\n",
		*workload, *concurrency, min(done, *records), complete, seconds, float64(min(done, *records))/seconds, steady,
		float64(cpuEnd-cpuFirst.Load())/1e9, peakRssMB(), quantile(.5), quantile(.99), quantile(1), len(delays))
}
