# Deploys with a SecureString, which no command line can hold.
#requires -Version 7.4
param(
    [Parameter(Mandatory)] [string] $PackageUrl,
    [Parameter(Mandatory)] [string] $PackageSha256
)
$secret = ConvertTo-SecureString -String $env:SECRET_OF_THE_TEST -AsPlainText -Force
& "$PSScriptRoot/../../../deploy/deploy-mosquitto.ps1" $secret -PackageUrl $PackageUrl -PackageSha256 $PackageSha256
