// A URL or a path in, data.csv out: its bytes as they came.
#include <curl/curl.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

namespace fs = std::filesystem;

struct Target {
    std::ofstream file;
    curl_off_t most, bytes = 0, lines = 0;
    char last = '\n';
    bool comma = false;  // in the first line
};

// libcurl calls this with each piece; another length than it gave ends the download.
size_t write(char* piece, size_t, size_t length, void* data) {
    Target& target = *static_cast<Target*>(data);
    if ((target.bytes += length) > target.most) return 0;
    for (size_t i = 0; i < length; i++) {
        target.comma |= target.lines == 0 && (piece[i] == ',' || piece[i] == ';' || piece[i] == '\t');
        target.lines += piece[i] == '\n';
    }
    target.last = piece[length - 1];
    target.file.write(piece, length);
    return target.file ? length : 0;
}

std::string quoted(const std::string& text) {  // as JSON has it
    std::string made = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') made += '\\';
        made += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return made + '"';
}

void fetch(const std::string& url, Target& target, long timeout) {
    char said[CURL_ERROR_SIZE] = "";
    CURL* curl = curl_easy_init();
    if (!curl) throw std::runtime_error("libcurl cannot be used");
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https,file");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);  // an answer of 400 and more
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, timeout);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &target);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, said);
    const CURLcode code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    if (target.bytes > target.most)
        throw std::runtime_error("it is larger than max_bytes=" + std::to_string(target.most) + "; raise max_bytes");
    if (code) throw std::runtime_error(std::string(*said ? said : curl_easy_strerror(code)) + "; check data_url");
    if (!target.comma) throw std::runtime_error("its first line has one column only; give a CSV file with a header");
}

int main(int, char** arguments) {
    const std::string source = arguments[1];
    const fs::path outputs = std::getenv("STEP_OUTPUTS");
    Target target{std::ofstream(outputs / "data.csv", std::ios::binary), std::atoll(arguments[2])};
    try {
        const bool path = source.find("://") == std::string::npos && source.rfind("file:", 0);
        std::string url = source;
        if (path) {  // libcurl takes URLs alone
            url = "file://";
            char* escaped = curl_easy_escape(nullptr, fs::absolute(source).c_str(), 0);
            url += escaped;
            curl_free(escaped);
            for (size_t at; (at = url.find("%2F")) != std::string::npos;) url.replace(at, 3, "/");
        }
        fetch(url, target, std::atol(arguments[3]));
    } catch (const std::exception& error) {
        std::cerr << source << " could not be downloaded: " << error.what() << '\n';
        return 1;
    }
    const auto lines = target.lines + (target.last != '\n');
    std::ofstream(outputs / "metrics.json") << "{\"lines\": " << lines << ", \"bytes\": " << target.bytes << "}\n";
    std::ofstream(outputs / "tags.json") << "{\"data.source\": " << quoted(source) << "}\n";
    std::ofstream(outputs / "dataset.json") << "{\"source\": " << quoted(source) << ", \"path\": \"data.csv\"}\n";
}
