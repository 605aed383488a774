/*
 * getaddrinfo(3) as a program: `resolve NAME` prints each address on a line, or why there is none. Built with musl, it
 * has the same resolver as Alpine's images.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **words) {
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	if (count != 2) return 2;
	int error = getaddrinfo(words[1], 0, &hints, &found);
	if (error) {
		puts(gai_strerror(error));
		return 1;
	}
	for (; found; found = found->ai_next) {
		char text[INET6_ADDRSTRLEN];
		void *address = found->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr
		                                            : (void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr;
		puts(inet_ntop(found->ai_family, address, text, sizeof text));
	}
	return 0;
}
