// A service in the mesh and its caller, with Go's standard library alone, told only door, name and port:
//
//	DUALMESH=http://127.0.0.1:13380 NAME=hello-1 PORT=9001 go run hello.go provider
//	DUALMESH=http://127.0.0.1:13380 NAME=caller RATE=5 go run hello.go consumer
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Told is what the door says: of a registration its id, of a service its instances.
type Told struct {
	Id        string
	Status    int
	Instances []struct{ Url string }
}

var (
	door, name = os.Getenv("DUALMESH"), os.Getenv("NAME")
	browser    = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}} // no proxy of the environment
	newest     atomic.Pointer[Told]
	ending     = make(chan os.Signal, 1)
	leaving    atomic.Bool
)

func main() {
	signal.Notify(ending, syscall.SIGTERM, os.Interrupt)
	go func() { io.Copy(io.Discard, os.Stdin); ending <- syscall.SIGTERM }()
	if os.Args[1] == "provider" {
		provide()
	} else {
		consume()
	}
}

func provide() {
	http.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"by": name, "hello": path.Base(r.URL.Path)})
	})
	http.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	port, _ := strconv.Atoi(os.Getenv("PORT"))
	go func() { log.Fatal(http.ListenAndServe(fmt.Sprint(":", port), nil)) }()
	body, _ := json.Marshal(map[string]any{"service": "hello", "port": port, "application": name})
	go follow("POST", "/v1/instances?follow", body)
	wait()
	say(map[string]any{"event": "ready"})
	<-ending
	leaving.Store(true)
	// Withdraw first, then serve those who have not heard of it.
	withdraw, _ := http.NewRequest("DELETE", door+"/v1/instances/"+newest.Load().Id, nil)
	browser.Do(withdraw)
	time.Sleep(time.Second)
	say(map[string]any{"event": "ended", "started": 0})
}

func consume() {
	go follow("GET", "/v1/services/hello/events", nil)
	wait()
	say(map[string]any{"event": "ready"})
	rate, _ := strconv.ParseFloat(os.Getenv("RATE"), 64)
	for started, ticks := 0, time.Tick(time.Duration(float64(time.Second)/max(rate, 1))); ; started++ {
		select {
		case <-ending:
			say(map[string]any{"event": "ended", "started": started})
			return
		case <-ticks:
			call(started)
		}
	}
}

func call(count int) {
	at, url, by, problem := time.Now(), "", "", ""
	if instances := newest.Load().Instances; len(instances) > 0 {
		url = instances[rand.IntN(len(instances))].Url
	}
	response, err := browser.Get(fmt.Sprintf("%s/hello/%d", url, count))
	if err != nil {
		problem = err.Error()
	} else {
		var answer struct{ By string }
		err = json.NewDecoder(response.Body).Decode(&answer)
		if response.Body.Close(); err != nil || response.StatusCode != 200 {
			problem = fmt.Sprint(response.Status, " ", err)
		}
		by = answer.By
	}
	ms := float64(time.Since(at).Microseconds()) / 1000
	one := map[string]any{"at": at.UnixMilli(), "ms": ms, "dialled": url, "by": by, "error": problem}
	say(map[string]any{"event": "calls", "calls": []any{one}})
}

// follow keeps what the door tells, for ever: a connection that breaks is made again.
func follow(method, path string, body []byte) {
	for ; !leaving.Load(); time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond) {
		request, _ := http.NewRequest(method, door+path, bytes.NewReader(body))
		request.Header.Set("content-type", "application/json")
		response, err := browser.Do(request)
		if err != nil {
			log.Print(err)
			continue
		}
		for lines := bufio.NewReader(response.Body); err == nil; {
			var line string
			line, err = lines.ReadString('\n')
			told := new(Told)
			if data, is := strings.CutPrefix(line, "data: "); is && json.Unmarshal([]byte(data), told) == nil {
				newest.Store(told)
				if told.Status == 410 { // registered again elsewhere: not to be taken back
					log.Fatal(data)
				}
			}
		}
		response.Body.Close()
	}
}

func wait() {
	for told := newest.Load(); told == nil || told.Id == "" && len(told.Instances) == 0; told = newest.Load() {
		time.Sleep(10 * time.Millisecond)
	}
}

func say(line any) { json.NewEncoder(os.Stdout).Encode(line) }
